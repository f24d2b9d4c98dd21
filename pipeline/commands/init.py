"""`ganline init DATA`: look at your pictures and write a params.yaml for them.

    ganline init ../pictures

It asks nothing and changes nothing in DATA. Every line that is written has a comment; what is not
there has its default (docs/configuration.md).
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import ConfigError, DataError
from pipeline.commands.init_text import (
    LARGE_PX,
    SMALL_PX,
    is_counted,
    pictures,
    recipe_of,
    size_of,
    written,
)
from pipeline.exit_codes import Parser, guarded

if TYPE_CHECKING:
    from components.data.survey import Survey

EXAMPLES = """examples:
  ganline init ../pictures
  ganline init ../pictures --out mine.yaml
  ganline init data/clothes --force
  ganline init ../pictures --set source.caption_column=text
"""
MANY, READ_PER_S = 10_000, 80  # pictures; score and filter of a core (docs/log.md: data_rate)
FEW, VERY_FEW = 1_000, 200  # pictures; below: what is learned is said to be little


def main(argv: list[str] | None = None) -> int:
    """Run `ganline init`."""
    parser = Parser(
        prog="ganline init",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help="your folder; it is not changed")
    parser.add_argument(
        "--out", type=Path, default=Path("params.yaml"), metavar="FILE", help="default params.yaml"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="source.KEY=VALUE", help="as in params.yaml"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace FILE; it is kept as FILE.before"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    return guarded(lambda: _init(options), options.debug)


def _init(options: argparse.Namespace) -> None:
    from components.data.far_files import FarPath, place_of
    from components.data.file_tree import no_folder
    from components.data.survey import check_usable
    from pipeline.commands.data import surveyed
    from pipeline.params.sections import load_params

    out: Path = options.out
    folder = place_of(options.data)
    if isinstance(folder, FarPath):
        todo = "`ganline data check` prints the section `source` for it"
        raise ConfigError("init looks at folders of this machine", str(folder), todo)
    if not folder.is_dir():
        raise no_folder(folder, "name the folder of your pictures")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder", "--out", "name a file, such as params.yaml")
    if out.exists() and not options.force:
        todo = "name another with --out, or say --force (it is kept as a copy)"
        raise ConfigError("there is a file already", str(out), todo)
    found = surveyed(folder, options.data, options.set)
    if not found.sides:
        todo = "ganline data check says what is there"
        raise DataError("no picture that can be read", str(folder), todo)
    check_usable(found)
    text = written(found)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary, kept = out.with_name(f"{out.name}.tmp"), None
    temporary.write_text(text, encoding="utf-8")
    try:
        load_params(temporary)
        if out.exists() and out.read_text(encoding="utf-8", errors="replace") != text:
            kept = _free(out)
            out.replace(kept)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    print("\n".join(told(found, out)))
    if kept:
        print(f"the file that was there: {kept}")


def _free(out: Path) -> Path:
    """Return a name for the file that was there, which no earlier one has."""
    names = (f"{out.name}.before{number or ''}" for number in itertools.count())
    return next(path for name in names if not (path := out.with_name(name)).exists())


def told(found: Survey, out: Path) -> Iterator[str]:
    """Say what was found, what will happen, for how long, and what to expect of it."""
    from components.data.survey import unread_tables

    source, count, size = found.source, pictures(found), size_of(found)
    seen = len(found.sides)
    what = {
        "text": f"captions: {found.captioned / seen:.0%} have one",
        "label": f"{found.classes}, no captions",
        "none": "neither captions nor classes",
    }[source.condition]
    least = "" if is_counted(found) else "at least "
    yield f"{least}{count:,} pictures in {source.path} ({source.kind}); {what}"
    yield from unread_tables(found)
    for reason, number in found.reasons.most_common(5):
        yield f"  {number:,} of those looked at will be left out: {reason}"
    small = sum(side < SMALL_PX for side in found.sides)
    if small:
        are = "is" if small == 1 else "are"
        yield f"  {small:,} {are} smaller than {SMALL_PX} px and will be left out"
    yield (
        f"written: {out}, family {recipe_of()['name']}, {size} px"
        + {
            "text": ", drawn by prompts",
            "label": ", drawn by classes (--label)",
            "none": ", drawn by nothing but a seed",
        }[source.condition]
    )
    yield "what will happen: frozen networks learn from the pictures, a GAN is trained at 32 px" + (
        ", grown to 64 px," if size == LARGE_PX else ","
    )
    time = "about" if size == LARGE_PX else "less than"
    measured = "measured: presets/captioned_pictures.yaml"
    yield f"  measured and published; {time} 12 minutes on 2 CPU cores ({measured})"
    if count > MANY:
        minutes = count / READ_PER_S / 60
        yield f"  and {minutes:,.0f} more to score and store {count:,} (photographs of 512 px)"
    if count < VERY_FEW and is_counted(found):
        are = "picture is" if count == 1 else "pictures are"
        yield f"warning: {count} {are} very few: it will draw them again, not new ones like"
        yield "  them; on a GPU, presets/*few_shot.yaml is made for so few"
    elif count < FEW and is_counted(found):
        yield f"warning: {count} pictures are few: expect colours and rough shapes; distances are"
        yield "  of few held-out pictures and say little"
    if source.condition == "none":
        yield "note: to draw by words, put KEY.txt beside each picture, or a captions.csv"
    if source.condition == "text" and found.captioned < 0.9 * seen:
        yield f"warning: {1 - found.captioned / seen:.0%} have no caption and will be left out"
    yield "next: python -m pipeline.params" + (
        "" if out.name == "params.yaml" else f" --params {out}"
    )
    yield "      make demo                     # or: dvc repro"
