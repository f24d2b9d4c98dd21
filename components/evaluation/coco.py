"""COCO's captions and pictures as a source of real images and of prompts.

They are read from its caption file and its folder of pictures.

The protocol is that of Sauer et al. (2023): the centre square of every picture, by Lanczos to
256 px, smaller sizes by Lanczos from there; one of a picture's captions, drawn at random. A picture
that is missing, broken or without a caption is left out and counted. Legend: N samples.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from components.data.decode import Decoded, centre_square, decode
from components.data.reasons import Reason
from components.errors import DataError
from components.requests.images import PROMPT_CHARS_LIMIT
from components.sampling import from_uint8
from models.interfaces import Batch

BASE_PX = 256
THREADS = min(16, os.cpu_count() or 1)  # Pillow and hashing let go of the interpreter


@dataclass(frozen=True)
class Picture:
    """A picture of the set: its file, relative to the folder, and the caption drawn for it."""

    file: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class CocoPictures:
    """Readable pictures with a caption, in the order of the caption file; goes round like a stream.

    Attributes:
        folder: of the pictures.
        pictures: those that are used.
        content_hash: of names and bytes of exactly these pictures.
        resolution: side of the images that `atom` gives, at most 256.
        listed: pictures that the caption file names.
        left_out: reason -> pictures that are not used.
        seed: part of every cache key; the order does not depend on any.
    """

    folder: Path
    pictures: list[Picture]
    content_hash: str
    resolution: int
    listed: int
    left_out: dict[str, int] = field(default_factory=dict)
    seed: int = 0

    @property
    def num_rows(self) -> int:
        """Number of pictures."""
        return len(self.pictures)

    def at(self, resolution: int) -> CocoPictures:
        """Return the same pictures at another side."""
        return replace(self, resolution=resolution)

    def atom(self, position: int, size: int) -> Batch:
        """Return pictures [position, position + size)."""
        chosen = [self.pictures[(position + i) % self.num_rows] for i in range(size)]
        with ThreadPoolExecutor(THREADS) as pool:
            images = list(pool.map(self._image, chosen))
        return Batch(
            size=size,
            image_NCHW=from_uint8(np.stack(images)),
            captions=tuple(picture.caption for picture in chosen),
            keys=tuple(picture.file for picture in chosen),
        )

    def prompts(self, count: int, seed: int) -> list[str]:
        """Return captions in random order; they come again only when there are fewer pictures."""
        order = np.random.default_rng(seed).permutation(self.num_rows)
        return [self.pictures[order[i % self.num_rows]].caption for i in range(count)]

    def _image(self, picture: Picture) -> np.ndarray:
        found = decode((self.folder / picture.file).read_bytes())
        if not isinstance(found, Decoded):
            what = f"{picture.file} became unreadable: {found}"
            raise DataError(what, str(self.folder), "run it again when nothing writes there")
        return protocol_square(found.pixels_HWC, self.resolution)


def protocol_square(pixels_HWC: np.ndarray, side: int) -> np.ndarray:
    """Return the centre square by Lanczos at 256 px, then from there at `side`; uint8."""
    square = centre_square(pixels_HWC, BASE_PX)
    return square if side == BASE_PX else centre_square(square, side)


def shrink(pixels_HWC: np.ndarray, side: int) -> np.ndarray:
    """Bring a generated square to `side` as real ones get there: by way of 256 px from above it."""
    if len(pixels_HWC) > BASE_PX:
        return protocol_square(pixels_HWC, side)
    return centre_square(pixels_HWC, side)


def open_coco(
    annotations: Path, folder: Path, *, seed: int, cache: Path | None = None
) -> CocoPictures:
    """Read the caption file, look at every picture and draw a caption for each.

    Args:
        annotations: captions_val2014.json.
        folder: the pictures.
        seed: of the captions; a picture's depends on (seed, its id) alone.
        cache: folder that remembers which pictures are broken, by content.

    Raises:
        DataError: the caption file is not one, the folder is missing, or fewer than two pictures
            can be used.
    """
    if not folder.is_dir():
        raise DataError("no such folder", str(folder), "give the folder of COCO's pictures")
    content = _read(annotations)
    left_out: Counter[str] = Counter()
    named = list(_named(content, seed, left_out))
    with ThreadPoolExecutor(THREADS) as pool:
        hashes = list(pool.map(lambda p: _file_hash(folder / p.file), named))
    present = {p: sha256 for p, sha256 in zip(named, hashes, strict=True) if sha256}
    left_out[Reason.SAMPLE_MISSING_IMAGE] += len(named) - len(present)
    broken = _broken(folder, present, cache)
    left_out.update(broken.values())
    used = [picture for picture in present if picture.file not in broken]
    counts = {str(reason): count for reason, count in sorted(left_out.items()) if count}
    listed = len(content["images"])
    assert listed == len(used) + sum(counts.values()), "every listed picture is counted once"
    if len(used) < 2:
        why = ", ".join(f"{reason} {count}" for reason, count in counts.items())
        what = f"{len(used)} of {listed} pictures can be used ({why})"
        raise DataError(what, str(folder), "give the folder and the captions of the same set")
    facts = [(picture.file, present[picture]) for picture in used]
    return CocoPictures(
        folder=folder,
        pictures=used,
        content_hash=_digest(facts),
        resolution=BASE_PX,
        listed=listed,
        left_out=counts,
    )


def _read(annotations: Path) -> dict[str, list[Any]]:
    todo = "give captions_val2014.json of COCO 2014"
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"cannot be read: {' '.join(str(error).split())[:120]}"
        raise DataError(what, str(annotations), todo) from error
    if not isinstance(content, dict):
        raise DataError("no object of lists", str(annotations), todo)
    absent = [k for k in ("images", "annotations") if not isinstance(content.get(k), list)]
    if absent:
        raise DataError(f"no list {' and '.join(absent)}", str(annotations), todo)
    return content


def _named(content: dict[str, list[Any]], seed: int, left_out: Counter[str]) -> Iterator[Picture]:
    """Yield the listed pictures that have a safe name and a caption; count the others."""
    captions: dict[int, list[str]] = {}
    for number, text in _pairs(content["annotations"], "image_id", "caption"):
        if 0 < len(text.strip()) <= PROMPT_CHARS_LIMIT:
            captions.setdefault(number, []).append(text.strip())
    pairs = _pairs(content["images"], "id", "file_name")
    left_out[Reason.SAMPLE_BAD_JSON] += len(content["images"]) - len(pairs)
    seen: set[str] = set()
    for number, file in pairs:
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts or not file:
            left_out[Reason.SHARD_UNSAFE_MEMBER] += 1
        elif file in seen:
            left_out[Reason.SAMPLE_DUPLICATE_KEY] += 1
        elif number not in captions:
            left_out[Reason.SAMPLE_MISSING_CAPTION] += 1
        else:
            seen.add(file)
            own = captions[number]
            yield Picture(file, own[np.random.default_rng((seed, number)).integers(len(own))])


def _pairs(entries: list[Any], number: str, text: str) -> list[tuple[int, str]]:
    """Return (number, text) of every entry that has both, of the right kind."""
    plain = [entry for entry in entries if isinstance(entry, dict)]
    found = [(entry.get(number), entry.get(text)) for entry in plain]
    return [(n, t) for n, t in found if isinstance(n, int) and n >= 0 and isinstance(t, str)]


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def _broken(folder: Path, present: dict[Picture, str], cache: Path | None) -> dict[str, str]:
    """Return file -> why it cannot be decoded, remembered by the content of all files."""
    facts = [(picture.file, sha256) for picture, sha256 in present.items()]
    known = None if cache is None else cache / f"pictures-{_digest(facts)[:32]}.json"
    if known is not None and known.is_file():
        return json.loads(known.read_text())

    def problem(picture: Picture) -> Reason | None:
        found = decode((folder / picture.file).read_bytes())
        return found if isinstance(found, Reason) else None

    with ThreadPoolExecutor(THREADS) as pool:
        problems = zip(present, pool.map(problem, present), strict=True)
        broken = {picture.file: str(reason) for picture, reason in problems if reason}
    if known is not None:
        known.parent.mkdir(parents=True, exist_ok=True)
        temporary = known.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(broken))
        os.replace(temporary, known)
    return broken


def _digest(facts: list[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
