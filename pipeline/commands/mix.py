"""`ganline mix`: style mixing between seeds, as the grid of Karras et al. 2019.

Example:

    ganline mix "a large red ring on a blue background" --rows 0-3 --cols 4-8 --mix-layers 0-6
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from components.errors import ConfigError
from components.pictures.picture_files import check_target, save_folder, save_picture
from components.requests.number_lists import parse_layers, parse_seeds
from pipeline.commands.sampling_options import (
    Timer,
    asked_for,
    check_sheet,
    command,
    image_facts,
    open_model,
    sampling_parser,
    shown,
    towards,
)

EXAMPLES = """\
  ganline mix "a large red ring on a blue background" --rows 0-3 --cols 4-8 --out mix.png
  ganline mix "a red ring" "a blue cross" --rows 0-2 --cols 0-2 --mix-layers 0-6 --out mix.png
  ganline mix --label 3 --rows 0-2 --cols 3-5 --psi 0.7 --out mixes/"""


def main(argv: list[str] | None = None) -> int:
    """Draw the seeds of the rows with some layers of the seeds of the columns."""
    return command(_parser(), mix, argv)


def _parser() -> argparse.ArgumentParser:
    parser = sampling_parser(
        "mix",
        "Style mixing: each row's image with some layers' codes of each column's image. A second "
        "prompt, or label, is the columns'.",
        EXAMPLES,
        out="mix.png",
        saves="a .png, .webp or .jpg, or a folder",
    )
    parser.add_argument("--rows", default="0-3", metavar="LIST", help="seeds; default 0-3")
    parser.add_argument("--cols", default="4-7", metavar="LIST", help="seeds; default 4-7")
    parser.add_argument(
        "--mix-layers",
        metavar="LIST",
        help="layers taken from the columns, as 0-6; default: the first half",
    )
    return parser


def mix(options: argparse.Namespace) -> None:
    """Check the request, load the model, draw the grid, save, say where.

    Raises:
        ConfigError: the request or the output's name is not allowed; nothing is written.
        StorageError: there is no model.
    """
    rows, columns = parse_seeds(options.rows, "--rows"), parse_seeds(options.cols, "--cols")
    layers = parse_layers(options.mix_layers) if options.mix_layers is not None else ()
    asked = asked_for(options)
    if not 1 <= len(asked) <= 2:
        raise ConfigError(f"{len(asked)} prompts", "prompt", "give one, or rows' and columns'")
    kind = check_target(options.out, ("picture", "folder"), replace=options.force)
    check_sheet((1 + len(rows)) * (1 + len(columns)))
    model, card = open_model(options, asked)

    import components.sampling as sampling

    of_rows, of_columns = asked[0], asked[-1]
    if not layers:
        layers = tuple(range((1 + sampling.num_layers(model, of_rows)) // 2))
    # The columns' own images; then, row by row, the row's own, styled by itself, and its mixes.
    pairs = [(of_columns, seed, of_columns, seed) for seed in columns]
    for row in rows:
        pairs.append((of_rows, row, of_rows, row))
        pairs += [(of_rows, row, of_columns, column) for column in columns]
    timer = Timer()
    images = sampling.mix(
        model,
        prompts=[pair[0] for pair in pairs],
        seeds=[pair[1] for pair in pairs],
        style_prompts=[pair[2] for pair in pairs],
        style_seeds=[pair[3] for pair in pairs],
        layers=layers,
        truncation=options.psi,
        batch=options.batch,
        noise=options.noise,
        towards=towards(options, model, card),
    )
    if kind == "folder":
        save_folder(options.out, images, [_facts(card, options, pair, layers) for pair in pairs])
    else:
        save_picture(_sheet(images, rows, columns), options.out)
    timer.report(options.out, len(images))


def _facts(
    card: dict[str, Any],
    options: argparse.Namespace,
    pair: tuple[str, int, str, int],
    layers: tuple[int, ...],
) -> dict[str, Any]:
    prompt, seed, style, style_seed = pair
    mixed = {"style": shown(style), "style_seed": style_seed, "layers": layers}
    return {**image_facts(card, options, prompt, seed), **mixed}


def _sheet(images: Any, rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
    from components.pictures.labelled_grid import labelled_grid

    width = 1 + len(columns)
    cells = [[None, *images[: len(columns)]]]
    for row in range(len(rows)):
        start = len(columns) + row * width
        cells.append(list(images[start : start + width]))
    above = ["", *(f"seed {seed}" for seed in columns)]
    return labelled_grid(cells, ["", *(f"seed {seed}" for seed in rows)], above)


if __name__ == "__main__":
    sys.exit(main())
