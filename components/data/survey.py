"""Look into a source before anything is set: what is there, what would be rejected, and why."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from components.data.config import SourceConfig
from components.data.decode import Decoded, centre_square, decode
from components.data.far_files import Folder
from components.data.file_tree import IMAGE_EXTENSIONS, extension, images_of, look
from components.data.image_folder import table_of
from components.data.names import shown
from components.data.reasons import Reason
from components.data.records import Record
from components.data.sources import Part, found_in, parts, read_part, settled
from components.data.tar_samples import endings
from components.errors import DataError

SAMPLED = 1_000
SIDES = (32, 64, 128, 256, 512, 1_024, 2_048)
SHOWN, SHOWN_PX, NAMED = 10, 128, 10
_TABLES = {"csv", "tsv", "jsonl"}
_CURES = {
    Reason.CAPTION_ENCODING: "set source.encoding to the table's",
    Reason.SAMPLE_MISSING_IMAGE: "write the whole name of each picture into the table",
}


@dataclass
class Survey:
    """What a sample of a source says of it.

    Attributes:
        source: the configuration to begin with.
        files: files of each kind that are there.
        parts, looked_at: pieces of the source, and samples that were read.
        is_whole: all samples were read.
        reasons: reason -> samples of those looked at.
        sides: shorter sides of the readable ones, in pixels.
        captioned, several: readable ones with a caption, and with more than one.
        unread: tables beside images that were not taken for the table of captions.
        captions, labels: how often each was met.
        pairs: some images [px, px, 3] and their captions.
    """

    source: SourceConfig
    files: Counter[str]
    parts: int = 0
    looked_at: int = 0
    is_whole: bool = True
    reasons: Counter[str] = field(default_factory=Counter)
    sides: list[int] = field(default_factory=list)
    captioned: int = 0
    several: int = 0
    captions: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    pairs: list[tuple[np.ndarray, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def classes(self) -> str:
        """How many classes were met, in words."""
        count = len(set(self.labels) - {""})
        least = "" if self.is_whole else "at least "
        return f"{least}{count:,} class{'es' * (count != 1)}"

    @property
    def usable(self) -> int:
        """Samples of those looked at that have no reason to be left out."""
        hidden = self.reasons[str(Reason.ENTRY_HIDDEN)]
        return self.looked_at - (self.reasons.total() - hidden)


def survey(folder: Folder, source: SourceConfig, seed: int = 0) -> Survey:
    """Look at up to SAMPLED samples, taken from parts all over the source.

    Args:
        folder: of the source.
        source: what is known of it; a source of text without a table of captions is looked at as
            one of classes where it has class folders, else as one of images alone.
        seed: of the choice.

    Raises:
        DataError: there is nothing to look at, or more than one reading.
    """
    found = Survey(_readable(source, folder), found_in(folder))
    if found.source.kind == "image_folder":
        found.unread = _unread(folder, {found.source.captions_file, source.captions_file})
    asked = replace(found.source, captions="random")
    chosen = parts(asked, folder)
    found.parts = len(chosen)
    draw = random.Random(seed)
    draw.shuffle(chosen)
    for number, record in enumerate(_some(found, asked, folder, chosen), 1):
        _count(found, record)
        # Each sample has the same chance to be among those shown (reservoir sampling).
        place = len(found.pairs) if len(found.pairs) < SHOWN else draw.randrange(number)
        if place < SHOWN and not record.reason:
            image = decode(record.image)
            if isinstance(image, Decoded):
                pair = (centre_square(image.pixels_HWC, SHOWN_PX), record.caption)
                found.pairs[place : place + 1] = [pair]
    return found


def section(found: Survey) -> dict[str, Any]:
    """Return the fields of `source` that read what was found: three, and the unusual ones."""
    source = found.source
    usual = asdict(SourceConfig(path=source.path))
    here = {"kind": source.kind, "condition": source.condition, "path": source.path}
    here |= {name: value for name, value in asdict(source).items() if value != usual[name]}
    if found.several:
        here.setdefault("captions", "random")
    return {name: list(v) if isinstance(v, tuple) else v for name, v in here.items()}


def unread_tables(found: Survey) -> Iterator[str]:
    """Yield a line about tables that were not taken for the table of captions, if there are any."""
    if found.unread:
        names = ", ".join(shown(name, 60) for name in found.unread[:3])
        more = f" and {len(found.unread) - 3} more" if len(found.unread) > 3 else ""
        yield f"not read: {names}{more}; name the table of captions in source.captions_file"


def check_usable(found: Survey) -> None:
    """Raise DataError where every sample that was looked at would be left out."""
    if found.usable:
        return
    counts = [(one, n) for one, n in found.reasons.most_common() if one != Reason.ENTRY_HIDDEN]
    told = ", ".join(f"{number:,} {reason}" for reason, number in counts)
    todo = next((_CURES[Reason(one)] for one, _ in counts if one in _CURES), "mend the files")
    what = f"none of {found.looked_at:,} samples can be used: {told}"
    raise DataError(what, shown(found.source.path, 200), todo)


def _some(
    found: Survey, source: SourceConfig, folder: Folder, chosen: list[Part]
) -> Iterator[Record]:
    """Yield up to SAMPLED records, the same number from each part; tell `found` of any left."""
    each = max(1, -(-SAMPLED // max(1, len(chosen))))
    left = SAMPLED
    for part in chosen:
        if not left:
            found.is_whole = False
            return
        for number, record in enumerate(read_part(source, folder, part)):
            if number == each or not left:
                found.is_whole = False
                break
            left -= 1
            yield record


def _count(found: Survey, record: Record) -> None:
    reason = record.reason
    if reason == Reason.ENTRY_HIDDEN:
        found.reasons[str(reason)] += 1
        return
    found.looked_at += 1
    image = decode(record.image) if record.is_looked_at else None
    if isinstance(image, Decoded):
        found.sides.append(min(image.width, image.height))
        found.captioned += bool(record.caption)
        found.several += len(record.captions) > 1
        found.captions[record.caption] += 1
        found.labels[record.label] += 1
    reason = reason or (image if isinstance(image, Reason) else "")
    if reason:
        found.reasons[str(reason)] += 1


def _readable(source: SourceConfig, folder: Folder) -> SourceConfig:
    """Return the configuration with kind and condition that this folder can be read with."""
    source = settled(source, folder)
    if source.kind == "webdataset":
        return _with_members(source, folder)
    if source.kind != "image_folder":
        return source
    tree = look(folder)
    images = list(images_of(folder, tree))
    try:
        name = table_of(folder, tree, images, source)
    except DataError:
        if source.captions_file or any("caption" in file.lower() for file in tree.files):
            raise
        folders = {file.rpartition("/")[0] for file in images}
        return replace(source, condition="label" if len(folders) > 1 else "none")
    return replace(source, captions_file=name)


def _unread(folder: Folder, known: Collection[str]) -> list[str]:
    """Return the tables among images that are not read and that nobody has named."""
    files = look(folder).files
    return [name for name in files if extension(name) in _TABLES and name not in known]


def _with_members(source: SourceConfig, folder: Folder) -> SourceConfig:
    """Return the configuration with the endings of image and caption, where they are not the usual
    ones: `KEY.input.jpg`, `KEY.outputs.txt`.
    """
    there = endings(folder, parts(source, folder)[0].shard)
    if source.image_member or not there or IMAGE_EXTENSIONS & set(there):
        return source
    images = [name for name in there if name.rpartition(".")[2] in IMAGE_EXTENSIONS]
    texts = [name for name in there if name.endswith(".txt")]
    if len(images) == 1:
        source = replace(source, image_member=images[0])
    if len(texts) == 1 and source.caption_member not in there:
        source = replace(source, caption_member=texts[0])
    return source
