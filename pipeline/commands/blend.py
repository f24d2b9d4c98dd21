"""`ganline blend`: interpolate the weights of two models of one parent.

ganline blend artifacts/adapted/sketch artifacts/px64 --weight 0.5 --out artifacts/between
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.commands.result_folder import check_result_folder
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

EXAMPLES = """examples:
  ganline blend artifacts/adapted/sketch artifacts/px64 --out artifacts/between
  ganline blend artifacts/adapted/sketch artifacts/px64 --weight 0.2 --out artifacts/nearly
  ganline blend artifacts/adapted/one artifacts/adapted/two --weight 0.5 --out artifacts/both
"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline blend`."""
    parser = Parser(
        prog="ganline blend",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write the model between two that were adapted from one, or between a model "
        "and what was adapted from it.",
    )
    parser.add_argument("one", type=Path, metavar="A", help="an artifact")
    parser.add_argument("other", type=Path, metavar="B", help="another of the same parent")
    parser.add_argument("--weight", type=float, default=0.5, help="of B; default 0.5")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the artifact")
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: _work(options), options.debug)


def _work(options: argparse.Namespace) -> None:
    from components.artifacts.blending import blend

    out = options.out
    check_result_folder(out, (options.one, options.other), force=options.force)
    card = blend(options.one, options.other, options.weight, out)
    print(f"{out}: weight {options.weight:g} of {options.other}, {card['resolution_px']} px")


if __name__ == "__main__":
    sys.exit(main())
