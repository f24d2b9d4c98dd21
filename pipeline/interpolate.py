"""`ganline interpolate`: a walk between prompts, or between seeds, as an animation.

ganline interpolate "a red ring" "a blue cross" --seed 3 --loop --out walk.mp4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from components.animation import FPS_RANGE, enlarge, write_animation
from components.errors import ConfigError
from components.image_request import check_walk
from components.number_lists import parse_seeds
from components.picture_files import check_target, save_folder, written_beside
from pipeline.sampling_options import (
    Timer,
    asked_for,
    command,
    facts,
    one_by_one,
    open_model,
    sampling_parser,
    shown,
)

if TYPE_CHECKING:
    from components.sampling import Keyframe

EXAMPLES = """\
  ganline interpolate "a red ring" "a blue cross" --seed 3 --loop --out walk.mp4
  ganline interpolate "a red ring" --seeds 0,5,9 --frames 90 --loop --out walk.gif
  ganline interpolate "a red ring" "a blue cross" --seeds 0,5 --frames 8 --out frames/"""


def main(argv: list[str] | None = None) -> int:
    """Draw the frames between prompts or seeds and save them as an animation."""
    return command(_parser(), interpolate, argv)


def _parser() -> argparse.ArgumentParser:
    parser = sampling_parser(
        "interpolate",
        "A walk from prompt to prompt, from seed to seed, or both (as many prompts as seeds). The "
        "noise of the layers stays the same in all frames.",
        EXAMPLES,
        out="walk.mp4",
        saves="a .mp4 or .gif, or a folder of frames",
    )
    parser.add_argument(
        "--seed",
        "--seeds",
        dest="seeds",
        default="0",
        metavar="LIST",
        help="one for all prompts, or one per stop, as 0,5,9; default 0",
    )
    parser.add_argument("--frames", type=int, default=60, help="of the whole walk; default 60")
    parser.add_argument("--fps", type=int, default=20, help="frames per second; default 20")
    parser.add_argument("--loop", action="store_true", help="walk back to the first stop")
    parser.add_argument(
        "--space",
        choices=("w", "z"),
        default="w",
        help="where seeds are interpolated: w, straight (default), or z, on the sphere",
    )
    return parser


def interpolate(options: argparse.Namespace) -> None:
    """Check the request, load the model, draw the frames, save, say where.

    Raises:
        ConfigError: the request or the output's name is not allowed; nothing is written.
        StorageError: there is no model.
    """
    seeds = parse_seeds(options.seeds, unique=False)
    stops = _stops(asked_for(options), seeds)
    low, high = FPS_RANGE
    if not low <= options.fps <= high:
        raise ConfigError(f"fps is {options.fps}", "--fps", f"use {low} to {high}")
    kind = check_target(options.out, ("animation", "folder"), replace=options.force)
    check_walk(len(stops), options.frames)
    model, card = open_model(options)

    from components.sampling import Keyframe

    timer = Timer()
    keyframes = [Keyframe(prompt=prompt, seed=seed) for prompt, seed in stops]
    images = _frames(model, keyframes, options)
    if kind == "folder":
        whole = {
            **facts(card, options),
            "stops": [{"prompt": shown(prompt), "seed": seed} for prompt, seed in stops],
            "frames": options.frames,
            "loop": options.loop,
            "space": options.space,
        }
        records = ({"frame": i, **whole} for i in range(options.frames))
        save_folder(options.out, images, records)
    else:
        with written_beside(options.out) as temporary:
            write_animation((enlarge(image) for image in images), temporary, options.fps)
    timer.report(options.out, options.frames, "frame")


def _frames(model: Any, keyframes: list[Keyframe], options: argparse.Namespace) -> Iterator[Any]:
    from components.sampling import walk

    return one_by_one(
        walk(
            model,
            keyframes,
            options.frames,
            loop=options.loop,
            space=options.space,
            truncation=options.psi,
            batch=options.batch,
            noise=options.noise,
        )
    )


def _stops(prompts: tuple[str, ...], seeds: tuple[int, ...]) -> list[tuple[str, int]]:
    """Return prompt and seed of every stop; one of either serves for all."""
    if not prompts:
        raise ConfigError("no prompt", "prompt", "give at least one text")
    count = max(len(prompts), len(seeds))
    if not {len(prompts), len(seeds)} <= {1, count}:
        raise ConfigError(
            f"{len(prompts)} prompts and {len(seeds)} seeds",
            "--seeds",
            "give one seed, one prompt, or as many of both",
        )
    return list(
        zip(
            prompts if len(prompts) == count else prompts * count,
            seeds if len(seeds) == count else seeds * count,
            strict=True,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
