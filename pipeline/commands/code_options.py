"""The option `--code FILE`: a code from `ganline invert` replaces prompts, classes and seeds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError
from components.requests.subjects import kind_of
from pipeline.commands.default_folders import chosen
from pipeline.commands.sampling_options import facts, open_model

if TYPE_CHECKING:
    from components.sampling import StoredCode


def add_code_option(parser: argparse.ArgumentParser) -> None:
    """Let the command take codes."""
    parser.add_argument(
        "--code",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="codes that ganline invert found, in place of prompts, labels and seeds",
    )


def check_alone(options: argparse.Namespace) -> None:
    """Raise ConfigError for anything that a code takes the place of."""
    if options.prompts or options.label:
        raise ConfigError("a code and a prompt or label", "--code", "give one or the other")
    if options.centroids is not None or options.cutoff is not None:
        todo = "leave --centroids and --cutoff out: psi draws a code to the mean"
        raise ConfigError("a code, with centroids or a cutoff", "--code", todo)


def open_codes(options: argparse.Namespace) -> tuple[Any, dict[str, Any], list[StoredCode]]:
    """Return the model, its card and the codes of the files.

    Raises:
        ConfigError: a code is of another model.
        StorageError: a file holds no code, or there is no model.
    """
    options.model = chosen(options.model)

    from components.artifacts.release import code_hashes
    from components.sampling import check_codes, read_code

    codes = [read_code(path) for path in options.code]
    model, card = open_model(options)
    check_codes(codes, code_hashes(card))
    return model, card, codes


def code_facts(
    card: dict[str, Any], options: argparse.Namespace, path: Path, code: StoredCode
) -> dict[str, Any]:
    """Return what an index says about the image of a code."""
    kind = kind_of(card)
    asked = {} if kind == "none" else {"prompt" if kind == "text" else "label": code.subject}
    return {**asked, "code": str(path), **facts(card, options)}
