"""Interpolate the weights of two models that come from one (Gal et al. 2021, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.artifacts.artifact import (
    GENERATOR,
    TEXT_ENCODER,
    TEXT_WEIGHTS,
    load_generator,
    load_start,
    read_card,
    write_artifact,
)
from components.artifacts.family import recipe_from
from components.errors import ConfigError, StorageError


def why_unrelated(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return why the weights of two cards cannot be blended, "" when they can."""
    hashes = [str(card["files"][GENERATOR]) for card in (one, other)]
    parents = [str(card.get("parent_sha256") or "") for card in (one, other)]
    related = parents[0] == parents[1] != "" or parents[0] == hashes[1] or parents[1] == hashes[0]
    if not related:
        shown = " and ".join(parent[:12] or "none" for parent in parents)
        return f"they come from different models (parents {shown})"
    if one["resolution_px"] != other["resolution_px"] or one["shape"] != other["shape"]:
        return "they have other sizes or conditions"
    texts = [card["files"].get(TEXT_WEIGHTS) for card in (one, other)]
    if all(texts) and texts[0] != texts[1]:
        return "their text encoders differ"
    return ""


def blend(one: Path, other: Path, weight: float, out: Path) -> dict[str, Any]:
    """Write the artifact between two, and return its card.

    Args:
        one, other: artifacts of one parent, or a model and its parent.
        weight: of the other; 0 is the first model, 1 the second.
        out: where.

    Raises:
        ConfigError: the two are not related, or the weight is out of [0, 1].
        StorageError: one cannot be read.
    """
    import torch

    from models.interfaces import ConditionShape

    if not 0 <= weight <= 1:
        raise ConfigError(f"weight is {weight}", "--weight", "use 0 to 1")
    cards = [read_card(folder) for folder in (one, other)]
    if reason := why_unrelated(*cards):
        todo = "give two models that were adapted from one, or one and its parent"
        raise ConfigError(f"{one} and {other}: {reason}", "blend", todo)
    starts = [load_start(folder) for folder in (one, other)]
    if starts[0].generator.keys() != starts[1].generator.keys():
        raise StorageError("their weights have other names", str(other), "give models of one kind")
    state = {
        name: torch.lerp(x, starts[1].generator[name], weight) if x.is_floating_point() else x
        for name, x in starts[0].generator.items()
    }
    # The card of the one that was adapted says how; of two, the first's.
    card = cards[0] if cards[0].get("parent_sha256") else cards[1]
    recipe = recipe_from({"name": card["recipe"]["name"], **card["recipe"]["fields"]})
    model, _ = load_generator(one)
    return write_artifact(
        out,
        recipe=recipe,
        resolution=card["resolution_px"],
        shape=ConditionShape(**card["shape"]),
        generator_state=state,
        nimg=0,
        seed=card["seed"],
        parent_sha256=str(card["parent_sha256"]),
        encoders=card.get("encoders"),
        text_encoder=getattr(model, TEXT_ENCODER, None),
        label_names=card.get("label_names") or (),
        metrics={"blended": {"of": [str(c["files"][GENERATOR]) for c in cards], "weight": weight}},
    )
