"""`ganline generate`: draw images from prompts with the published model.

It needs neither MLflow nor Ray.

    ganline generate "a large red ring on a blue background" --seed 3 -n 4 --out ring.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError, printable
from components.pictures.picture_files import check_target, save_folder, save_picture
from components.requests.images import ImageRequest
from components.requests.number_lists import parse_seeds
from components.requests.prompt_file import read_prompts
from pipeline.commands.code_options import add_code_option, check_alone, code_facts, open_codes
from pipeline.commands.sampling_options import (
    Timer,
    asked_for,
    check_sheet,
    command,
    image_facts,
    one_by_one,
    open_model,
    sampling_parser,
    shown,
    towards,
)

if TYPE_CHECKING:
    from PIL import Image

EXAMPLES = """\
  ganline generate "a large red ring on a blue background" --seed 3 -n 4 --out ring.png
  ganline generate "a red ring" "a blue cross" --seeds 0-7,42 --psi 0.7 --out sheet.png
  ganline generate --prompts-file prompts.txt --seeds 0-3 --out pictures/
  ganline generate --label 3 -n 8 --psi 0.5 --centroids 100 --out class3.png
  ganline generate --code photo/code.safetensors --out again.png"""


def main(argv: list[str] | None = None) -> int:
    """Draw what the prompts say; save one picture or a folder of them."""
    return command(_parser(), generate, argv)


def _parser() -> argparse.ArgumentParser:
    parser = sampling_parser(
        "generate",
        "Draw what a prompt says with the published model: one image, a labelled sheet (a row per "
        "prompt, a column per seed), or a folder with one file per image and an index.",
        EXAMPLES,
        out="images.png",
        saves="a .png, .webp or .jpg, or a folder",
    )
    parser.add_argument(
        "--prompts-file", type=Path, metavar="FILE", help="more prompts, UTF-8, one per line"
    )
    parser.add_argument(
        "--seed",
        "--seeds",
        dest="seeds",
        default="0",
        metavar="LIST",
        help="seeds of every prompt, as 3 or 0-7,42; default 0",
    )
    parser.add_argument(
        "-n", "--number", type=int, help="images per prompt, from one seed upwards; default 1"
    )
    add_code_option(parser)
    return parser


def generate(options: argparse.Namespace) -> None:
    """Check the request, load the model, draw, save, say where.

    Raises:
        ConfigError: the request or the output's name is not allowed; nothing is written.
        StorageError: there is no model, or a file of --code holds no code.
    """
    if options.code:
        return _generate_from_codes(options)
    listed = read_prompts(options.prompts_file) if options.prompts_file else None
    request = ImageRequest(
        prompts=asked_for(options, listed.prompts if listed else ()),
        truncation=options.psi,
        **_seeds(options),
    )
    kind = check_target(options.out, ("picture", "folder"), replace=options.force)
    prompts, seeds = request.rows()
    if kind == "picture":
        check_sheet(len(seeds))
    model, card = open_model(options, request.prompts)
    for remark in listed.remarks() if listed else ():
        print(printable(remark), file=sys.stderr)

    from components.sampling import generate_batches

    timer = Timer()
    aim = towards(options, model, card)
    images = one_by_one(
        generate_batches(model, prompts, seeds, options.psi, options.batch, options.noise, aim)
    )
    if kind == "folder":
        rows = zip(prompts, seeds, strict=True)
        save_folder(options.out, images, (image_facts(card, options, *row) for row in rows))
    else:
        save_picture(_sheet(list(images), request), options.out)
    timer.report(options.out, len(seeds))


def _generate_from_codes(options: argparse.Namespace) -> None:
    check_alone(options)
    if options.prompts_file:
        raise ConfigError("a code and a file of prompts", "--code", "give one or the other")
    kind = check_target(options.out, ("picture", "folder"), replace=options.force)
    check_sheet(len(options.code))
    model, card, codes = open_codes(options)

    from components.sampling import draw_codes

    timer = Timer()
    images = draw_codes(model, codes, options.psi, options.batch, options.noise)
    if kind == "folder":
        rows = zip(options.code, codes, strict=True)
        save_folder(options.out, images, [code_facts(card, options, *row) for row in rows])
    else:
        names = [path.parent.name or path.stem for path in options.code]
        save_picture(_titled(list(images), names, ""), options.out)
    timer.report(options.out, len(images))


def _seeds(options: argparse.Namespace) -> dict[str, Any]:
    """Return the request's fields for --seeds and -n."""
    seeds = parse_seeds(options.seeds)
    if options.number is None:
        return {"seeds": seeds}
    if len(seeds) > 1:
        raise ConfigError(f"{len(seeds)} seeds and -n", "-n", "give a list of seeds, or -n")
    return {"seed": seeds[0], "images_per_prompt": options.number}


def _sheet(images: list[Any], request: ImageRequest) -> Image.Image:
    """Return one image as it is, several as a sheet that names prompts and seeds."""
    from components.pictures.labelled_grid import labelled_grid

    seeds = [f"seed {seed}" for seed in request.seeds_of_each()]
    if len(request.prompts) == 1:
        return _titled(images, seeds, shown(request.prompts[0]))
    rows = [images[i : i + len(seeds)] for i in range(0, len(images), len(seeds))]
    return labelled_grid(rows, request.prompts, seeds)


def _titled(images: list[Any], names: list[str], title: str) -> Image.Image:
    """Return one image as it is, several as a grid with a name under each."""
    from PIL import Image

    from components.pictures.sheets import image_grid

    if len(images) == 1:
        return Image.fromarray(images[0])
    columns = min(len(images), max(4, round(len(images) ** 0.5)))
    return image_grid(images, columns, names, title=title)


if __name__ == "__main__":
    sys.exit(main())
