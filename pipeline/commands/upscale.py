"""`ganline upscale`: enlarge a picture of any size with a model's upsampler.

ganline upscale photo.png --model artifacts/upsampler --out big.png
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.data.pictures import read_whole
from components.errors import ConfigError
from components.pictures.picture_files import Kind, check_target, save_picture, written_beside
from pipeline.commands.default_folders import chosen, tell_whose
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

KINDS: tuple[Kind, ...] = ("picture",)
EXAMPLES = """examples:
  ganline upscale photo.png --model artifacts/upsampler --out big.png
  ganline upscale photo.jpg "a red ring" --model artifacts/cascade --seed 3 --out big.png
  ganline upscale photo.webp --model artifacts/upsampler --blend none --batch 1 --out big.jpg
"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline upscale`."""
    parser = Parser(
        prog="ganline upscale",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Enlarge a picture with the upsampler of a model, or of a cascade, by tiles "
        "that overlap. A PNG is written strip by strip: what is in memory grows with the "
        "picture's width, not with its height. A JPEG or WebP is in memory as a whole.",
    )
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="a PNG, JPEG or WebP file")
    parser.add_argument(
        "prompt",
        nargs="?",
        default="",
        metavar="PROMPT",
        help="what it shows, for an upsampler that was trained with text; a class for one of "
        "classes",
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="a release or an artifact")
    parser.add_argument("--out", type=Path, default=Path("big.png"), help="default big.png")
    parser.add_argument("--seed", type=int, default=0, help="of the details; default 0")
    parser.add_argument(
        "--blend",
        choices=("smooth", "equal", "none"),
        default="smooth",
        help="smooth (default): two passes, each counts less near its seams; equal: they count "
        "alike; none: one pass, half the time, seams may show",
    )
    parser.add_argument("--batch", type=int, default=4, help="tiles at once, 1 to 256; default 4")
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: upscale_picture(options), options.debug)


def upscale_picture(options: argparse.Namespace) -> None:
    """Check the request, read the picture, load the model, enlarge, save, say where.

    Raises:
        ConfigError: an option is wrong, or the model has no upsampler; nothing is written.
        DataError: the picture cannot be read.
        StorageError: there is no such model.
    """
    check_target(options.out, KINDS, replace=options.force)
    if not 1 <= options.batch <= 256:
        raise ConfigError(f"batch is {options.batch}", "--batch", "use 1 to 256")
    options.model = chosen(options.model)
    pixels = read_whole(options.picture)
    tell_whose(options.model)

    import torch

    from components.artifacts.release import load_release
    from components.sampling import upscale, upscaler_of

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, _ = load_release(options.model, device, draws=False)
    factor = upscaler_of(model).factor
    height, width = (factor * side for side in pixels.shape[:2])
    started = time.monotonic()
    strips = upscale(
        model, pixels, options.prompt, seed=options.seed, blend=options.blend, batch=options.batch
    )
    _save(strips, width, height, options.out)
    seconds = time.monotonic() - started
    print(f"{options.out}: {width} x {height} px, {factor} times as large, {seconds:.1f} s")


def _save(strips: Iterator[Any], width: int, height: int, path: Path) -> None:
    """Write a PNG as its strips come, any other format from the whole picture."""
    if path.suffix.lower() == ".png":
        from components.png import write_png_rows

        with written_beside(path) as temporary:
            write_png_rows(temporary, width, height, strips)
        return
    import numpy as np
    from PIL import Image

    save_picture(Image.fromarray(np.concatenate(list(strips))), path)


if __name__ == "__main__":
    sys.exit(main())
