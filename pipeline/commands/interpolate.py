"""`ganline interpolate`: animate a walk between prompts, or between seeds.

Example:

    ganline interpolate "a red ring" "a blue cross" --seed 3 --loop --out walk.mp4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from components.errors import ConfigError
from components.pictures.animation import FPS_RANGE, enlarge, write_animation
from components.pictures.picture_files import check_target, save_folder, written_beside
from components.requests.images import check_walk
from components.requests.number_lists import parse_seeds
from pipeline.commands.code_options import add_code_option, check_alone, open_codes
from pipeline.commands.sampling_options import (
    Timer,
    asked_for,
    command,
    facts,
    one_by_one,
    open_model,
    sampling_parser,
    shown,
    towards,
)

EXAMPLES = """\
  ganline interpolate "a red ring" "a blue cross" --seed 3 --loop --out walk.mp4
  ganline interpolate "a red ring" --seeds 0,5,9 --frames 90 --loop --out walk.gif
  ganline interpolate "a red ring" "a blue cross" --seeds 0,5 --frames 8 --out frames/
  ganline interpolate --label cat dog owl --seed 3 --loop --out classes.mp4
  ganline interpolate --code me/code.safetensors you/code.safetensors --out morph.mp4"""

Stop = tuple[str, int]  # prompt and seed


def main(argv: list[str] | None = None) -> int:
    """Draw the frames between prompts or seeds and save them as an animation."""
    return command(_parser(), interpolate, argv)


def _parser() -> argparse.ArgumentParser:
    parser = sampling_parser(
        "interpolate",
        "A walk from prompt to prompt, from class to class, from seed to seed, or of both (as many "
        "prompts as seeds), or from code to code. The noise of the layers stays the same in all "
        "frames.",
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
    add_code_option(parser)
    return parser


def interpolate(options: argparse.Namespace) -> None:
    """Check the request, load the model, draw the frames, save, say where.

    Raises:
        ConfigError: the request or the output's name is not allowed; nothing is written.
        StorageError: there is no model.
    """
    stops: list[Stop] = []
    if options.code:
        check_alone(options)
        if options.space == "z":
            raise ConfigError("a code has no z", "--space", "use space w")
    else:
        stops = _stops(asked_for(options), parse_seeds(options.seeds, unique=False))
    low, high = FPS_RANGE
    if not low <= options.fps <= high:
        raise ConfigError(f"fps is {options.fps}", "--fps", f"use {low} to {high}")
    kind = check_target(options.out, ("animation", "folder"), replace=options.force)
    check_walk(len(stops) or len(options.code), options.frames)
    images, whole = _between_codes(options) if options.code else _between_stops(options, stops)
    timer = Timer()
    if kind == "folder":
        walked = {"frames": options.frames, "loop": options.loop, "space": options.space}
        records = ({"frame": i, **whole, **walked} for i in range(options.frames))
        save_folder(options.out, images, records)
    else:
        with written_beside(options.out) as temporary:
            write_animation((enlarge(image) for image in images), temporary, options.fps)
    timer.report(options.out, options.frames, "frame")


def _between_stops(
    options: argparse.Namespace, stops: list[Stop]
) -> tuple[Iterator[Any], dict[str, Any]]:
    """Return the frames, and what an index says about all of them."""
    model, card = open_model(options, [prompt for prompt, _ in stops])

    from components.sampling import Keyframe, walk

    frames = walk(
        model,
        [Keyframe(prompt=prompt, seed=seed) for prompt, seed in stops],
        options.frames,
        loop=options.loop,
        space=options.space,
        truncation=options.psi,
        batch=options.batch,
        noise=options.noise,
        towards=towards(options, model, card),
    )
    listed = [{"prompt": shown(prompt), "seed": seed} for prompt, seed in stops]
    return one_by_one(frames), {**facts(card, options), "stops": listed}


def _between_codes(options: argparse.Namespace) -> tuple[Iterator[Any], dict[str, Any]]:
    """Return the frames between codes, and what an index says about all of them."""
    model, card, codes = open_codes(options)

    from components.sampling import walk_codes

    frames = walk_codes(
        model,
        codes,
        options.frames,
        loop=options.loop,
        truncation=options.psi,
        batch=options.batch,
        noise=options.noise,
    )
    listed = [{"code": str(path)} for path in options.code]
    return one_by_one(frames), {**facts(card, options), "stops": listed}


def _stops(prompts: tuple[str, ...], seeds: tuple[int, ...]) -> list[Stop]:
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
