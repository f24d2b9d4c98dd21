"""`ganline attributes`: which style channels of the model move with a text.

ganline attributes "large" "blue" --prompt "a red circle" --out attributes.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from components.errors import ConfigError
from components.pictures.picture_files import check_target, save_picture
from pipeline.commands.channel_sweep import add_sweep_options, channels_for
from pipeline.commands.editing_options import (
    add_editing_options,
    check_text,
    code_of,
    open_all,
)
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

STRENGTHS = (-6.0, -3.0, 0.0, 3.0, 6.0)  # deviations of the channel

EXAMPLES = """examples:
  ganline attributes "a large red ring" --prompt "a red ring" --out attributes.png
  ganline attributes "a blue background" --prompt "a large red ring" --seed 3 --out ground.png
  ganline attributes "a cross" "a disc" --prompt "a red ring" --count 3 --out shapes.png
"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline attributes`."""
    options = _parser().parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: attributes(options), options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ganline attributes",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Say which style channels move with a text, as a table and a picture of the "
        "strongest ones, each moved alone by -6 to 6 of its deviations.",
    )
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="what to look for")
    parser.add_argument("--prompt", default="", help="what the images show")
    parser.add_argument("--seed", type=int, default=0, help="of the image; default 0")
    parser.add_argument("--psi", type=float, default=1.0, help="its truncation; default 1")
    parser.add_argument("--count", type=int, default=5, metavar="N", help="channels; default 5")
    parser.add_argument("--out", type=Path, default=Path("attributes.png"), help="a picture")
    parser.set_defaults(code=None, image=None)
    add_sweep_options(parser)
    add_editing_options(parser)
    return parser


def attributes(options: argparse.Namespace) -> None:
    """Check the request, sweep or open the sweep, print the table, draw the picture.

    Raises:
        ConfigError: the request is not allowed, or the family has no styles.
        StorageError: the model, a net or a file is missing or damaged.
    """
    check_target(options.out, {"picture"}, replace=options.force)
    texts = [check_text(text, "TEXT") for text in options.texts]
    if not 1 <= options.count <= 20:
        raise ConfigError(f"count is {options.count}", "--count", "use 1 to 20")
    opened = open_all(options, options.prompt)
    channels = channels_for(options, opened)
    ws_1LD, generator = code_of(options, opened), opened.model.generator

    from components.editing import channels_of, draw
    from components.pictures.labelled_grid import labelled_grid

    cells, labels = [], []
    print(f"{'text':24} {'layer':32} {'channel':>7} {'relevance':>9} {'deviation':>9}")
    for text in texts:
        direction_E = opened.clip.direction(opened.neutral, text)
        for channel in channels_of(channels, direction_E, options.count):
            found = draw(
                generator, channel.edit(generator, ws_1LD), opened.condition, list(STRENGTHS)
            )
            cells.append(list(found))
            labels.append(f"{text}: {channel.layer.rpartition('blocks.')[2]} {channel.number}")
            print(
                f"{text[:24]:24} {channel.layer[:32]:32} {channel.number:7d} "
                f"{channel.relevance:9.3f} {channel.deviation:9.3f}"
            )
    columns = [f"{strength:+g}" for strength in STRENGTHS]
    save_picture(labelled_grid(cells, labels, columns), options.out)
    print(f"{options.out}: {len(cells)} channels")


if __name__ == "__main__":
    sys.exit(main())
