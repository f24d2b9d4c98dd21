"""`ganline sweep`: draw the same seeds at several truncations, as a table.

A row per seed and a column per psi.

    ganline sweep "a large red ring on a blue background" --seeds 0-3 --psis 0,0.5,1 --out sweep.png
"""

from __future__ import annotations

import argparse
import sys

from components.errors import ConfigError
from components.pictures.picture_files import check_target, save_folder, save_picture
from components.requests.number_lists import parse_seeds, parse_truncations
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

EXAMPLES = """\
  ganline sweep "a large red ring on a blue background" --seeds 0-3 --out sweep.png
  ganline sweep "a red ring" --seeds 0,7 --psis=-1,-0.5,0,0.5,1 --out sweep.png
  ganline sweep --label 3 --seeds 0-7 --out sweep/"""


def main(argv: list[str] | None = None) -> int:
    """Draw every seed at every psi."""
    return command(_parser(), sweep, argv)


def _parser() -> argparse.ArgumentParser:
    parser = sampling_parser(
        "sweep",
        "Truncation sweep: a row per prompt and seed, a column per psi (--psi is not used).",
        EXAMPLES,
        out="sweep.png",
        saves="a .png, .webp or .jpg, or a folder",
    )
    parser.add_argument(
        "--seed", "--seeds", dest="seeds", default="0-3", metavar="LIST", help="default 0-3"
    )
    parser.add_argument(
        "--psis",
        default="0,0.25,0.5,0.75,1",
        metavar="LIST",
        help="truncations, -2 to 2; default 0,0.25,0.5,0.75,1; a first negative one: --psis=-1,0",
    )
    return parser


def sweep(options: argparse.Namespace) -> None:
    """Check the request, load the model, draw the grid, save, say where.

    Raises:
        ConfigError: the request or the output's name is not allowed; nothing is written.
        StorageError: there is no model.
    """
    seeds, psis = parse_seeds(options.seeds), parse_truncations(options.psis)
    asked = asked_for(options)
    if not asked:
        raise ConfigError("no prompt", "prompt", "give at least one text")
    kind = check_target(options.out, ("picture", "folder"), replace=options.force)
    rows = [(prompt, seed) for prompt in asked for seed in seeds]
    check_sheet(len(rows) * len(psis))
    drawn = [(*row, psi) for row in rows for psi in psis]
    model, card = open_model(options, asked)

    from components.pictures.labelled_grid import labelled_grid
    from components.sampling import generate_batches

    timer = Timer()
    prompts, all_seeds, truncations = zip(*drawn, strict=True)
    aim = towards(options, model, card)
    images = one_by_one(
        generate_batches(model, prompts, all_seeds, truncations, options.batch, options.noise, aim)
    )
    if kind == "folder":
        records = ({**image_facts(card, options, p, seed), "psi": psi} for p, seed, psi in drawn)
        save_folder(options.out, images, records)
    else:
        found, width = list(images), len(psis)
        cells = [found[i : i + width] for i in range(0, len(found), width)]
        labels = [", ".join(filter(None, (shown(p), f"seed {seed}"))) for p, seed in rows]
        save_picture(labelled_grid(cells, labels, [f"psi {psi:g}" for psi in psis]), options.out)
    timer.report(options.out, len(drawn))


if __name__ == "__main__":
    sys.exit(main())
