"""`ganline data check PATH`: say in seconds what is in a folder, and how to set `source`."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.exit_codes import Parser, guarded

if TYPE_CHECKING:
    from components.data.far_files import Folder
    from components.data.survey import Survey

EXAMPLES = """examples:
  ganline data check ../pictures
  ganline data check ../pictures --picture pairs.png
  ganline data check data/raw/train --kind webdataset
  ganline data check ../pictures --set source.caption_column=text
  ganline data check s3://bucket/pairs
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = Parser(
        prog="ganline data",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["check"], help="what to do")
    parser.add_argument("path", metavar="PATH", help="your folder or URI; it is not changed")
    parser.add_argument("--kind", default="auto", help="as source.kind")
    parser.add_argument(
        "--set", action="append", default=[], metavar="source.KEY=VALUE", help="as in params.yaml"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write ten pairs as a PNG")
    parser.add_argument("--force", action="store_true", help="replace FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    return guarded(lambda: _check(options), options.debug)


def _check(options: argparse.Namespace) -> None:
    from components.data.far_files import place_of
    from components.data.survey import check_usable
    from components.errors import ConfigError

    if options.picture:
        from components.pictures.picture_files import check_target

        check_target(options.picture, {"picture"}, replace=options.force, option="--picture")
    kinds = ("auto", "webdataset", "image_folder", "parquet")
    if options.kind not in kinds:
        raise ConfigError(f"got {options.kind!r}", "--kind", f"allowed: {', '.join(kinds)}")
    settings = [f"source.kind={options.kind}", *options.set]
    found = surveyed(place_of(options.path), options.path, settings)
    print("\n".join(_lines(found)))
    check_usable(found)
    if options.picture and found.pairs:
        _write_pairs(found, options.picture)
        print(f"{len(found.pairs)} pairs: {options.picture}")


def surveyed(folder: Folder, path: str, settings: list[str]) -> Survey:
    """Look into a source that is read as the settings say.

    Raises:
        ConfigError: a setting is wrong, or asks for a condition that the source does not have.
    """
    from components.data.survey import survey
    from components.errors import ConfigError
    from pipeline.params.sections import source_at

    source = source_at(path, settings)
    found = survey(folder, source)
    asked = any(setting.startswith("source.condition=") for setting in settings)
    if asked and found.source.condition != source.condition:
        what = f"no {'captions' if source.condition == 'text' else 'classes'} were found in {path}"
        todo = "name their table (source.captions_file), or leave source.condition out"
        raise ConfigError(what, f"source.condition={source.condition}", todo)
    return found


def _lines(found: Survey) -> Iterator[str]:
    from components.data.reasons import Reason
    from components.data.sources import in_words
    from components.data.survey import SAMPLED, SIDES, section, unread_tables

    parts = f"{found.parts:,} part{'s' * (found.parts != 1)}"
    yield f"{', '.join(in_words(found.files))}; read as {found.source.kind}, in {parts}"
    yield from unread_tables(found)
    readable = len(found.sides)
    yield f"looked at {found.looked_at:,} samples (at most {SAMPLED:,}): {readable:,} readable"
    if readable:
        yield "shorter side, px:"
        edges = [0, *SIDES, 1 << 30]
        for low, high in itertools.pairwise(edges):
            count = sum(low <= side < high for side in found.sides)
            if count:
                bar = "#" * max(1, round(40 * count / readable))
                name = f"{low:>5} to {high - 1}" if high < 1 << 30 else f"{low:>5} and more"
                yield f"  {name:16} {count:>6}  {bar}"
    yield from _words(found)
    hidden = found.reasons.pop(Reason.ENTRY_HIDDEN.value, 0)
    if hidden:
        yield f"hidden entries, which are no data: {hidden:,}"
    for reason, count in found.reasons.most_common():
        yield f"would be rejected: {count:>6} for {reason}"
    yield "\n# for params.yaml"
    yield yaml.safe_dump({"source": section(found)}, sort_keys=False, allow_unicode=True).rstrip()


def _words(found: Survey) -> Iterator[str]:
    """Say how many of the readable ones have what a model would draw from, and which."""
    from components.data.names import shown
    from components.data.survey import NAMED

    readable = max(1, len(found.sides))
    if found.source.condition == "none":
        yield "neither captions nor classes: a model draws from the seed alone"
        return
    if found.source.condition == "label":
        counted = found.labels
        yield f"with a class: {1 - counted[''] / readable:.1%}; {found.classes}"
    else:
        counted = found.captions
        share = found.captioned / readable
        yield f"with a caption: {share:.1%}; with several: {found.several / readable:.1%}"
    for text, count in counted.most_common(NAMED):
        if text:
            yield f"  {count:>6} x {shown(text, 90)}"


def _write_pairs(found: Survey, path: Path) -> None:
    import numpy as np

    from components.pictures.picture_files import save_picture
    from components.pictures.sheets import image_grid

    images = np.stack([image for image, _ in found.pairs])
    captions = [caption or "(no caption)" for _, caption in found.pairs]
    save_picture(image_grid(images, 5, captions), path)
