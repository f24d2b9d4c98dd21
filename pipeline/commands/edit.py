"""`ganline edit`: change an image of the model by words.

ganline edit --method optimise "a small red circle" --to "a large red circle" --seed 3
ganline edit train-mapper "a red circle" --to "a blue circle" --out blue.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError
from components.pictures.picture_files import check_target, save_picture, written_beside
from components.requests.editing import OptimiseConfig
from pipeline.commands.channel_sweep import add_sweep_options, channels_for
from pipeline.commands.editing_options import (
    Opened,
    add_editing_options,
    check_text,
    code_of,
    identity_net,
    open_all,
    say,
)
from pipeline.commands.train_mapper import mapper_parser, train
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

if TYPE_CHECKING:
    from torch import Tensor

    from components.editing import Edit

METHODS = ("optimise", "mapper", "direction")
FRAMES, STRENGTHS_LIMIT = 48, 64
EXAMPLES = """\
  ganline edit "a small red circle" --to "a large red circle" --seed 3 --out large.png
  ganline edit --method direction "a red circle" --to "a blue circle" --strengths 0,1,2
  ganline edit train-mapper "a red circle" --to "a blue circle" --out blue.safetensors
  ganline edit --method mapper "a red circle" --mapper blue.safetensors --seed 3 --out blue.gif"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline edit`, or `ganline edit train-mapper`."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["train-mapper"]:
        options = mapper_parser().parse_args(argv[1:])
        work: Callable[[], None] = lambda: train(options)  # noqa: E731
    else:
        options = _parser().parse_args(argv)
        work = lambda: edit(options)  # noqa: E731
    set_quiet_environment()
    return guarded(work, options.debug)


def _parser() -> argparse.ArgumentParser:
    default = OptimiseConfig()
    parser = Parser(
        prog="ganline edit",
        description="Change an image of the model by words: search for its code (optimise), map it "
        "in one pass (mapper), or move the style channels that CLIP finds (direction).",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "prompt", nargs="?", default="", help="what the image shows; a model of text draws it"
    )
    parser.add_argument("--to", metavar="TEXT", help="what it is to show")
    parser.add_argument("--method", choices=METHODS, default="optimise", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the image; default 0")
    parser.add_argument("--psi", type=float, default=1.0, help="its truncation; default 1")
    parser.add_argument("--code", type=Path, metavar="FILE", help="a code in place of a seed")
    parser.add_argument("--image", type=Path, metavar="FILE", help="a picture, inverted first")
    parser.add_argument("--inversion-steps", type=int, default=500, help="default %(default)s")
    parser.add_argument(
        "--features", default="dino", metavar="ROLE", help="net of the inversion; default dino"
    )
    parser.add_argument(
        "--strengths", metavar="LIST", help="a row of pictures, as 0,0.5,1; default: before, after"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("edited.png"),
        help="a picture, or a .gif or .mp4 that goes from before to after; default %(default)s",
    )
    parser.add_argument("--fps", type=int, default=24, help="of an animation; default 24")
    search = parser.add_argument_group("optimise")
    search.add_argument("--space", choices=("w", "w+", "s"), default=default.space)
    search.add_argument("--steps", type=int, default=default.steps, help="default %(default)s")
    search.add_argument(
        "--starts",
        type=int,
        default=default.starts,
        metavar="N",
        help="search from so many places near the code, keep the best; default %(default)s",
    )
    search.add_argument("--learning-rate", type=float, default=default.learning_rate)
    for name in ("clip_weight", "direction_weight", "distance_weight"):
        flag = f"--{name.replace('_', '-')}"
        search.add_argument(flag, type=float, default=getattr(default, name))
    search.add_argument("--identity", metavar="ROLE", help="a frozen net whose features stay")
    search.add_argument("--identity-weight", type=float, default=0.005, help="default %(default)s")
    mapped = parser.add_argument_group("mapper")
    mapped.add_argument("--mapper", type=Path, metavar="FILE", help="trained or imported")
    moved = parser.add_argument_group("direction")
    moved.add_argument("--alpha", type=float, default=4.0, help="strength 1; default %(default)s")
    moved.add_argument("--beta", type=float, default=0.0, help="least relevance; default 0")
    moved.add_argument(
        "--top-channels", type=int, default=20, metavar="N", help="0 = all; default 20"
    )
    add_sweep_options(parser)
    add_editing_options(parser)
    return parser


def edit(options: argparse.Namespace) -> None:
    """Check the request, find the edit, draw it, save, say where.

    Raises:
        ConfigError: the request is not allowed; nothing is written.
        DataError: the picture cannot be read.
        StorageError: the model, a net or a file is missing or damaged.
    """
    kind = check_target(options.out, ("picture", "animation"), replace=options.force)
    strengths = _strengths(options.strengths)
    text = "" if options.method == "mapper" else check_text(options.to, "--to")
    if options.method == "mapper" and options.mapper is None:
        raise ConfigError("no mapper", "--mapper", "name a file of ganline edit train-mapper")
    if options.top_channels < 0 or not 0 <= options.beta <= 1:
        raise ConfigError(
            "beta or top-channels out of range", "--beta", "use 0 to 1, and 0 or more"
        )
    config = OptimiseConfig(
        space=options.space,
        steps=options.steps,
        starts=options.starts,
        learning_rate=options.learning_rate,
        clip_weight=options.clip_weight,
        direction_weight=options.direction_weight,
        distance_weight=options.distance_weight,
        identity_weight=options.identity_weight if options.identity else 0.0,
    )
    opened = open_all(options, options.prompt)
    ws_1LD = code_of(options, opened)
    found = _found(options, opened, ws_1LD, text, config)

    from components.editing import draw
    from components.pictures.labelled_grid import labelled_grid

    generator = opened.model.generator
    if kind == "animation":
        from components.pictures.animation import enlarge, write_animation

        steps = [i / (FRAMES - 1) for i in range(FRAMES)]
        shown = strengths or [0.0, 1.0]
        places = [shown[0] + (shown[-1] - shown[0]) * step for step in steps]
        frames = draw(generator, found, opened.condition, places)
        with written_beside(options.out) as out:
            write_animation((enlarge(frame) for frame in frames), out, options.fps)
    else:
        strengths = strengths or [0.0, 1.0]
        images = draw(generator, found, opened.condition, strengths)
        labels = [f"strength {value:g}" for value in strengths]
        save_picture(labelled_grid([list(images)], [""], labels), options.out)
    print(f"{options.out}: {options.method}, {text or options.mapper.stem}")


def _strengths(listed: str | None) -> list[float]:
    try:
        found = [float(part) for part in listed.split(",")] if listed else []
    except ValueError:
        found = [float("nan")]
    if len(found) > STRENGTHS_LIMIT or not all(-1000 <= value <= 1000 for value in found):
        todo = f"give at most {STRENGTHS_LIMIT} numbers, as 0,0.5,1"
        raise ConfigError(f"strengths {str(listed)[:40]!r}", "--strengths", todo)
    return found


def _found(
    options: argparse.Namespace,
    opened: Opened,
    ws_1LD: Tensor,
    text: str,
    config: OptimiseConfig,
) -> Edit:
    """Return the edit by the method that was asked for."""
    import components.editing as editing
    from components.artifacts.release import code_hashes
    from components.editing.stored_mapper import check_mapper

    generator = opened.model.generator
    if options.method == "mapper":
        stored = editing.read_mapper(options.mapper)
        check_mapper(stored, generator, code_hashes(opened.card))
        mapper = stored.mapper.to(ws_1LD.device)
        return editing.edit_by_mapper(mapper, ws_1LD, generator)
    if options.method == "direction":
        channels = channels_for(options, opened)
        direction_E = opened.clip.direction(opened.neutral, text)
        found, selection = editing.edit_by_channels(
            generator,
            ws_1LD,
            channels,
            direction_E,
            beta=options.beta,
            top=options.top_channels,
        )
        say(f"{selection.count} of {len(selection.move_C)} channels move")
        return editing.Edit(found.start, {n: options.alpha * x for n, x in found.change.items()})
    identity = identity_net(options)

    def report(step: Any) -> None:
        if step.step * 10 // config.steps > (step.step - 1) * 10 // config.steps:
            of_start = f"start {step.start + 1}, " if config.starts > 1 else ""
            say(f"{of_start}step {step.step} of {config.steps}: to the text {step.clip:.4f}")

    return editing.edit_by_optimising(
        generator,
        ws_1LD,
        opened.condition,
        opened.clip,
        text,
        config,
        neutral=opened.neutral,
        identity=identity,
        report=report,
    )


if __name__ == "__main__":
    sys.exit(main())
