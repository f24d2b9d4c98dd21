"""`ganline edit train-mapper`: train a latent mapper for a text, or for sentences of a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from components.errors import ConfigError
from components.requests.editing import MapperConfig
from components.requests.prompt_file import read_prompts
from components.requests.subjects import kind_of
from pipeline.commands.editing_options import (
    add_editing_options,
    check_text,
    identity_net,
    open_all,
    say,
)
from pipeline.exit_codes import Parser

WEIGHTS = ("clip_weight", "direction_weight", "distance_weight", "identity_weight", "norm_weight")
EXAMPLES = """\
  ganline edit train-mapper "a red circle" --to "a blue circle" --out blue.safetensors
  ganline edit train-mapper "a red circle" --to "a large red circle" --levels coarse --out large
  ganline edit train-mapper --captions pairs.tsv --steps 300 --out pairs.safetensors"""


def mapper_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    default = MapperConfig()
    parser = Parser(
        prog="ganline edit train-mapper",
        description="Train a latent mapper for one text. The same command goes on where an earlier "
        "one was stopped.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompt", nargs="?", default="", help="what the images show")
    parser.add_argument("--to", metavar="TEXT", help="what they are to show")
    parser.add_argument(
        "--captions",
        type=Path,
        metavar="FILE",
        help="in place of --to: lines of what an image may show, a tab, what it is to show then; "
        "a model of text draws the former by turns",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the mapper")
    parser.add_argument(
        "--levels", nargs="+", default=[], metavar="LEVEL", help="coarse, medium, fine; default all"
    )
    numbers = ("steps", "batch", "codes", "seed")
    for name in numbers:
        parser.add_argument(
            f"--{name}", type=int, default=getattr(default, name), help="default %(default)s"
        )
    for name in ("psi", "learning_rate", *WEIGHTS):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            default=getattr(default, name),
            help="default %(default)s",
        )
    parser.add_argument("--identity", metavar="ROLE", help="a frozen net whose features stay")
    add_editing_options(parser)
    return parser


def train(options: argparse.Namespace) -> None:
    """Check the request, train, write the mapper, say where; errors as `edit`."""
    pairs = None if options.captions is None else read_pairs(options.captions)
    if pairs and options.to is not None:
        raise ConfigError("a text and a file", "--captions", "give --to or --captions, not both")
    name = options.captions.stem if pairs else check_text(options.to, "--to")
    if options.out.exists() and not options.force:
        raise ConfigError(f"{options.out} exists", "--out", "name another file, or add --force")
    names: tuple[str, ...] = ("steps", "batch", "codes", "seed", "psi", "learning_rate")
    names += WEIGHTS
    values = {name: getattr(options, name) for name in names}
    config = MapperConfig(levels=tuple(options.levels), **values)
    opened = open_all(options, options.prompt or (pairs[0][0] if pairs else ""))

    from components.artifacts.release import code_hashes
    from components.editing import Captions, train_mapper, write_mapper

    def report(step: int, terms: Any) -> None:
        if step * 20 // config.steps > (step - 1) * 20 // config.steps:
            listed = ", ".join(f"{name} {value:.4f}" for name, value in terms.items())
            say(f"step {step} of {config.steps}: {listed}")

    goal: str | Captions = name
    condition = opened.condition
    if pairs:
        goal = Captions(opened.clip, pairs, name)
        if kind_of(opened.card) == "text":
            condition = opened.model.condition([before for before, _ in pairs])
    state = options.out.with_name(f"{options.out.name}.state")
    stored = train_mapper(
        opened.model.generator,
        condition,
        opened.clip,
        goal,
        config,
        generator_sha256=code_hashes(opened.card)[0],
        neutral=opened.neutral,
        state=state,
        identity=identity_net(options),
        report=report,
    )
    write_mapper(options.out, stored)
    state.unlink(missing_ok=True)
    print(f"{options.out}: a mapper to {name!r}")


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Return the pairs of a file: what an image may show, a tab, what it is to show then.

    Raises:
        ConfigError: the file cannot be read, or a line is no pair.
    """
    read = read_prompts(path)
    if read.bad or read.blank:
        raise ConfigError(read.remarks()[-1].removeprefix(f"{path}: "), str(path), "mend the file")
    pairs = []
    for line in read.prompts:
        before, _, after = (part.strip() for part in line.partition("\t"))
        if not before or not after or "\t" in after:
            todo = "write what an image may show, one tab, what it is to show then"
            raise ConfigError(f"the line {line[:60]!r} is no pair", str(path), todo)
        pairs.append((before, after))
    return pairs
