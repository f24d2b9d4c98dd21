"""`ganline cascade`: join a base and upsamplers to one model, which draws as one.

ganline cascade artifacts/base artifacts/upsampler --out artifacts/cascade
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.commands.result_folder import check_result_folder
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

EXAMPLES = """examples:
  ganline cascade artifacts/base artifacts/upsampler --out artifacts/cascade
  ganline cascade artifacts/base artifacts/to_256 artifacts/to_1024 --out artifacts/large
  ganline cascade artifacts/release artifacts/px256 --out artifacts/again --force
  ganline cascade artifacts/base artifacts/upsampler --encoders artifacts/encoders --out both
"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline cascade`."""
    parser = Parser(
        prog="ganline cascade",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write the model that draws with a base and enlarges with one upsampler after "
        "another. All are releases or artifacts, imported or trained; a base may be a cascade, and "
        "of a cascade that stands as upsampler its upsamplers are taken.",
    )
    parser.add_argument("base", type=Path, metavar="BASE", help="draws small images")
    parser.add_argument(
        "upsamplers",
        type=Path,
        metavar="UPSAMPLER",
        nargs="+",
        help="enlarges them; the next enlarges what this one makes",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the artifact")
    parser.add_argument(
        "--encoders",
        type=Path,
        metavar="DIR",
        help="has the CLIP of a base that attends to words and was trained here; with it the model "
        "draws before it is published",
    )
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: _work(options), options.debug)


def _work(options: argparse.Namespace) -> None:
    from components.artifacts.joining import join

    out = options.out
    check_result_folder(out, (options.base, *options.upsamplers), force=options.force)
    card = join(options.base, options.upsamplers, out, options.encoders)
    small = card["recipe"]["fields"].get("base_px", 0)
    print(f"{out}: {small} px of {options.base} become {card['resolution_px']} px")
    for part, facts in card["joined_from"].items():
        if facts["licence"]:
            print(f"licence of the {part}: {facts['licence']}")


if __name__ == "__main__":
    sys.exit(main())
