"""Make the bundled nets: half precision where no decision changes, and cards with their origin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from components.data.config import SynthesizeConfig
from components.errors import StorageError
from components.pretraining.config import OTHER_DRAWINGS
from components.pretraining.role_numbers import decide, measure
from components.pretraining.training_data import TrainingData
from models.features import FeatureCard, build_feature_net, load_feature_net, read_card
from models.features.folder import FULL, HALF, halve, write_net


def bundle_net(
    role: str, source: Path, folder: Path, data: TrainingData, origin: dict[str, str]
) -> FeatureCard:
    """Write a trained net as the bundled one of its role; return its card.

    Its numbers are measured anew, on the weights as they are stored.

    Args:
        role: of the net.
        source: folder of the net, as the encoders stage leaves it.
        folder: where; made if absent.
        data: the drawings that it was trained on and the ones that it is measured on.
        origin: preset, commit, data, licence.

    Raises:
        StorageError: there is no such net, it is damaged, or it is of another role.
    """
    try:
        card, net = read_card(source), load_feature_net(source)
    except ValueError as error:
        raise StorageError(str(error), str(source), "run the encoders stage again") from error
    if card.role != role:
        todo = "name the folder that the encoders stage wrote"
        raise StorageError(f"a net of the role {card.role}, wanted {role}", str(source), todo)
    half = rounded(net, card)
    changed = changed_decisions(role, net, half, data)
    stored, kept = (FULL, net) if changed else (HALF, half)
    told = {**origin, "half_precision": f"changes {changed} of {len(data.test):,} decisions"}
    numbers = {k: v for k, v in card.metrics.items() if k == "loss"} | measure(role, kept, data)
    metrics = {name: round(value, 5) for name, value in numbers.items()}
    facts = {"stored": stored, "origin": told, "metrics": metrics}
    return write_net(folder, net.network, replace(card, **facts))  # type: ignore[arg-type]


def rounded(net: Any, card: FeatureCard) -> Any:
    """Return a copy of a net whose weights went through half precision."""
    with torch.random.fork_rng(devices=[]):
        copy = build_feature_net(card)
    copy.network.load_state_dict(halve(net.network.state_dict()))
    return copy.requires_grad_(False).eval()


def changed_decisions(role: str, net: Any, other: Any, data: TrainingData) -> int:
    """Return on how many test drawings two nets do not decide alike."""
    mine, theirs = decide(role, net, data), decide(role, other, data)
    differs = torch.stack([mine[name] != theirs[name] for name in mine])
    return int(differs.any(dim=0).sum())


def told_data(role: str, config: SynthesizeConfig, seed: int) -> str:
    """Return in words what a net was trained and measured on."""
    split, pairs = "encoders", config.encoders_pairs
    if role in OTHER_DRAWINGS:
        split, pairs = "judge", config.judge_pairs
    return (
        f"{pairs:,} drawings of the embedded corpus at {config.resolution_px} px, split {split}, "
        f"seed {seed}; numbers on {config.test_pairs:,} of split test"
    )
