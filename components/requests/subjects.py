"""What a model can be asked to draw: prompts, classes, or nothing in particular.

A model of classes takes their names where a text-to-image model takes prompts, and an unconditional
one takes `NOTHING`; so sampling, sheets, CLI and served model have one path for all three. Needs no
torch, so a bad request is answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from components.errors import ConfigError
from components.requests.card import read_card_file

Kind = Literal["text", "label", "none"]
NOTHING = "no prompt"
EXAMPLE_PROMPT = "a prompt"
_LISTED = 12


def kind_of(card: Mapping[str, Any]) -> Kind:
    """Return what the model of a card is asked with; text goes before classes."""
    if card["shape"].get("pooled_dim"):
        return "text"
    return "label" if card["shape"].get("num_labels") else "none"


def label_names(card: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes, in their order; numbers where the data had numbers."""
    return list(card.get("label_names") or map(str, range(card["shape"]["num_labels"])))


def example_subject(card: Mapping[str, Any]) -> str:
    """Return what the model of a card can be asked for."""
    kind = kind_of(card)
    if kind == "label":
        return label_names(card)[0]
    return EXAMPLE_PROMPT if kind == "text" else NOTHING


def subjects(folder: Path, prompts: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Return what to draw, one text per row of images.

    Args:
        folder: the model. One without a readable card is taken for a text-to-image model: opening
            it will say what is wrong.
        prompts, labels: as asked.

    Raises:
        ConfigError: the model is asked with something else, or does not know a label.
    """
    try:
        card = read_card_file(folder)
        kind = kind_of(card)
    except (OSError, ValueError):
        return (*prompts, *labels)
    if kind == "text" and labels:
        raise ConfigError("the model takes prompts, not labels", "--label", "give a prompt")
    if kind == "text":
        return tuple(prompts)
    if prompts:
        what = "class labels, not prompts" if kind == "label" else "neither prompt nor label"
        todo = f"use --label with {_listed(card)}" if kind == "label" else "leave it out"
        raise ConfigError(f"the model takes {what}", "prompt", todo)
    if kind == "label" and not labels:
        raise ConfigError("no label", "--label", f"give {_listed(card)}")
    asked = tuple(labels) or (NOTHING,)
    for subject in asked:
        check_subject(card, subject)
    return asked


def check_subject(card: Mapping[str, Any], subject: str) -> None:
    """Raise ConfigError unless the model of a card can be asked for `subject`."""
    kind = kind_of(card)
    if kind == "label" and subject not in label_names(card):
        raise ConfigError(f"label {subject[:40]!r} is not known", "label", f"use {_listed(card)}")
    if kind == "none" and subject != NOTHING:
        raise ConfigError(
            "the model takes neither prompt nor label",
            "prompt",
            f"leave it out (say {NOTHING!r})",
        )


def _listed(card: Mapping[str, Any]) -> str:
    names = label_names(card)
    more = f", ... ({len(names)} in all)" if len(names) > _LISTED else ""
    return f"one of {', '.join(names[:_LISTED])}{more}"
