"""What `ganline generate`, `interpolate`, `mix` and `sweep` share: options, model, facts."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from components.errors import ConfigError, printable
from components.requests.card import read_card_file
from components.requests.images import check_truncation
from components.requests.subjects import NOTHING, kind_of, label_names, subjects
from pipeline.commands.default_folders import chosen, published, tell_whose
from pipeline.exit_codes import Parser, guarded
from pipeline.places import set_quiet_environment

SHEET_LIMIT = 512  # images in one picture; more belong into a folder
BATCH_LIMIT = 1024
CUTS_SHOWN, CUT_SHOWN = 3, 40  # prompts named as cut, and so many of their characters
WORDS_SHOWN = 40  # of those that a model knows, or does not


def command(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], None],
    argv: list[str] | None,
) -> int:
    """Read the arguments, do the work, return the exit code."""
    options = parser.parse_args(argv)
    set_quiet_environment()

    def checked() -> None:
        check_truncation(options.psi, "--psi")
        if not 1 <= options.batch <= BATCH_LIMIT:
            raise ConfigError(f"batch is {options.batch}", "--batch", f"use 1 to {BATCH_LIMIT}")
        work(options)

    return guarded(checked, options.debug)


def sampling_parser(
    name: str, description: str, examples: str, out: str, saves: str
) -> argparse.ArgumentParser:
    """Return a parser with the options that every way of sampling takes.

    Args:
        name, description: of the command.
        examples: its command lines, one per line.
        out: default of --out.
        saves: what --out may be.
    """
    parser = Parser(
        prog=f"ganline {name}",
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="what to draw")
    parser.add_argument(
        "--label",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME|INDEX",
        help="classes, for a model of classes",
    )
    parser.add_argument(
        "--psi",
        type=float,
        default=1.0,
        help="truncation, -2 to 2: 1 (default) full variety, 0 the mean image of the prompt",
    )
    parser.add_argument(
        "--centroids",
        type=int,
        metavar="N",
        help="psi draws to the nearest of N k-means centroids of codes, instead of the mean",
    )
    parser.add_argument(
        "--cutoff", type=int, metavar="LAYERS", help="psi draws so many first layers; default: all"
    )
    parser.add_argument(
        "--noise",
        choices=("const", "random", "none"),
        default="const",
        help="of the layers: as trained (default), drawn from the seed, or none",
    )
    parser.add_argument("--out", type=Path, default=Path(out), help=f"{saves}; default {out}")
    parser.add_argument("--force", action="store_true", help="replace what --out names")
    add_model(parser)
    _add_speed(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model, whose default is `default_folders.published`."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a release, or an artifact that needs no CLIP; default: what publish made, else the "
        "bundled one",
    )


def _add_speed(parser: argparse.ArgumentParser) -> None:
    speed = parser.add_argument_group("speed")
    speed.add_argument(
        "--bf16",
        action="store_true",
        help="weights and convolutions in bfloat16: about 2 percent off, and by rounding an image "
        "can differ a little with its neighbours (not with --batch 1)",
    )
    speed.add_argument(
        "--compile", action="store_true", help="compile first: takes minutes, pays on a GPU"
    )
    speed.add_argument("--batch", type=int, default=16, help="images at once; same images")


def asked_for(options: argparse.Namespace, more: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what to draw, one text each: the prompts, or the names of the classes.

    Args:
        options: prompts, label and model.
        more: prompts from elsewhere.

    Raises:
        ConfigError: the model is asked with something else, or does not know a label.
    """
    options.model = options.model or published()
    labels = [_label_name(options.model, label) for label in options.label]
    return subjects(options.model, (*options.prompts, *more), labels)


def open_model(
    options: argparse.Namespace, asked: Sequence[str] = ()
) -> tuple[Any, dict[str, Any]]:
    """Return the release in its fast form, on the GPU if there is one, and its card.

    Args:
        options: of the command.
        asked: what will be drawn; prompts that are longer than the text encoder reads are told.

    Raises:
        StorageError: there is no such model, or it is damaged.
    """
    tell_whose(chosen(options.model))

    import torch

    from components.artifacts.release import load_release
    from models.inference import fast_form

    model, card = load_release(options.model, "cuda" if torch.cuda.is_available() else "cpu")
    if kind_of(card) == "text":
        tell_cuts(model, asked)
        tell_unknown(model, asked)
    fast_form(
        model.generator,
        precision="bfloat16" if options.bf16 else "float32",
        compiled=options.compile,
    )
    return model, card


def tell_cuts(model: Any, asked: Sequence[str]) -> None:
    """Say on stderr, in one line, how much of which prompts the text encoder does not read."""
    prompts = list(dict.fromkeys(asked))
    cuts = [(p, n) for p, n in zip(prompts, model.surplus(prompts), strict=True) if n]
    if not cuts:
        return
    shown = [f"the last {n} of {prompt[:CUT_SHOWN]!r}..." for prompt, n in cuts[:CUTS_SHOWN]]
    more = f" and {len(cuts) - CUTS_SHOWN} more" if len(cuts) > CUTS_SHOWN else ""
    length = model.text_encoder.tokenize.context_length
    line = (
        f"note: {len(cuts)} of {len(prompts)} prompts cut at {length} tokens, not read: "
        f"{', '.join(shown)}{more}"
    )
    print(printable(line), file=sys.stderr)


def tell_unknown(model: Any, asked: Sequence[str]) -> None:
    """Say on stderr, in one line, which words the model never learned, and which it did."""
    unknown = dict.fromkeys(word for words in model.unknown(asked) for word in words)
    if not unknown:
        return
    known = model.text_encoder.tokenize.words
    listed = ", ".join(known[:WORDS_SHOWN]) + (", ..." if len(known) > WORDS_SHOWN else "")
    line = (
        f"note: the model never learned {', '.join(list(unknown)[:WORDS_SHOWN])}; "
        f"it knows {len(known)} words: {listed}"
    )
    print(printable(line), file=sys.stderr)


def towards(options: argparse.Namespace, model: Any, card: dict[str, Any]) -> Any:
    """Return what psi draws to (components.sampling.Towards); the same options, the same centroids.

    Raises:
        ConfigError: the family, its condition or the number allows no centroids.
    """
    from components.sampling import Towards, fit_centroids

    centroids = None
    if options.centroids is not None:
        centroids = fit_centroids(model.generator, card["shape"], options.centroids)
    return Towards(centroids_MD=centroids, cutoff=options.cutoff)


def facts(card: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return what an index says about every image alike."""
    from components.artifacts.release import model_hash

    drawn_to = {name: getattr(options, name) for name in ("centroids", "cutoff")}
    return {
        "psi": options.psi,
        **{name: value for name, value in drawn_to.items() if value is not None},
        "noise": options.noise,
        "precision": "bfloat16" if options.bf16 else "float32",
        "model": model_hash(card),
    }


def image_facts(
    card: dict[str, Any], options: argparse.Namespace, subject: str, seed: int
) -> dict[str, Any]:
    """Return what an index says about one image: enough to draw it again."""
    kind = kind_of(card)
    asked = {"prompt": subject if kind == "text" else None}
    if kind == "label":
        asked["label"] = subject
    return {**asked, "seed": seed, **facts(card, options)}


def shown(subject: str) -> str:
    """Return a subject as a sheet shows it: nothing for nothing."""
    return "" if subject == NOTHING else subject


def check_sheet(count: int) -> None:
    """Raise ConfigError when so many images do not belong into one picture."""
    if count > SHEET_LIMIT:
        raise ConfigError(
            f"{count} images in one picture", "--out", f"name a folder, or ask for {SHEET_LIMIT}"
        )


class Timer:
    """Says at the end what was written and how long an image took."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def report(self, out: Path, count: int, what: str = "image") -> None:
        """Print one line."""
        seconds = (time.monotonic() - self._started) / count
        print(f"{out}: {count} {what}{'s' if count > 1 else ''}, {seconds:.3f} s per {what}")


def one_by_one(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the images of batches."""
    for images in batches:
        yield from images


def _label_name(folder: Path, label: str) -> str:
    """Return the name of a class given by name or index; what is neither stays as it is."""
    try:
        names = label_names(read_card_file(folder))
    except (OSError, ValueError):
        return label
    known = label in names or not label.isdecimal() or int(label) >= len(names)
    return label if known else names[int(label)]
