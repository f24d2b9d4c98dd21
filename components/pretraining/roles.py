"""Make every frozen net of later stages: train it, open a published or bundled one, or none."""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from components.artifacts.frozen_nets import ABSENT
from components.data.score_parts import MapParts
from components.pretraining.attributes import train_judge
from components.pretraining.bundled import take_bundled
from components.pretraining.class_features import (
    Elsewhere,
    class_features,
    logit_names,
    write_classes,
)
from components.pretraining.classifier import train_classifier
from components.pretraining.clip import train_clip
from components.pretraining.config import OTHER_DRAWINGS, ROLES
from components.pretraining.dino import train_dino
from components.pretraining.fitting import Say
from components.pretraining.pretrained import open_pretrained
from components.pretraining.role_numbers import measure
from components.pretraining.training_data import TrainingData
from models.features import FeatureCard, load_feature_net, save_feature_net

INDEX = "index.json"
KNOWS_CLASSES = ("classifier", "dino", "guide")


def make_encoders(
    data: TrainingData, out: Path, say: Say, map_parts: MapParts | None = None
) -> dict[str, FeatureCard]:
    """Make all roles and replace the folder `out` by them in one step.

    Args:
        data: what is trained on and measured on.
        out: folder.
        say: prints one line of progress.
        map_parts: hands pieces of work to other machines, and gives their rows in order: those take
            the mean features of classes. None = here.

    Returns:
        role -> card, for every role whose source is not none.
    """
    building = out.with_name(out.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    cards: dict[str, FeatureCard] = {}
    # What is opened comes before what trains: a missing file must not cost a training.
    for role in sorted(ROLES, key=lambda role: getattr(data.config, role).source == "train"):
        if getattr(data.config, role).source != "none":
            cards[role] = _make(role, data, building / role, say, map_parts)
        else:  # a folder all the same: the graph has one shape
            (building / role).mkdir()
            (building / role / ABSENT).write_text('{"source": "none"}\n')
    index = {
        role: _index_entry(getattr(data.config, role).source, cards.get(role)) for role in ROLES
    }
    (building / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    building.rename(out)
    return cards


def _index_entry(source: str, card: FeatureCard | None) -> dict[str, Any]:
    if card is None:
        return {"source": source, "kind": None, "sha256": None}
    return {"source": source, "kind": card.kind, "sha256": card.sha256}


def _make(
    role: str, data: TrainingData, folder: Path, say: Say, map_parts: MapParts | None
) -> FeatureCard:
    started = time.monotonic()
    config = getattr(data.config, role)
    knows = data.source.condition == "label" and role in KNOWS_CLASSES
    net: Any = None
    trained_on: tuple[str, ...] = ()
    if config.source == "bundled":
        card = take_bundled(role, data.bundled, folder)
        net = load_feature_net(folder) if knows else None
    elif config.source == "pretrained":
        net, source = open_pretrained(role, config.pretrained)
        card = save_feature_net(folder, net, role=role, source=source)
    else:
        net, metrics = train_role(role, data, lambda text: say(f"{role}: {text}"))
        metrics = {name: round(value, 5) for name, value in metrics.items()}
        facts = {"role": role, "metrics": metrics}
        card = save_feature_net(folder, net, source="trained by ganline", **facts)
        trained_on = data.train.label_names if knows else ()
    shown = ", ".join(f"{name} {value:.3f}" for name, value in card.metrics.items())
    bundled = "bundled, " if config.source == "bundled" else ""
    say(f"{role}: {bundled}ready in {_since(started):.0f} s {shown}")
    if knows:
        logits = logit_names(net, trained_on)
        elsewhere = Elsewhere(map_parts, folder) if map_parts else None
        names, feature_KE = class_features(net, data.origins, data.config.class_images, elsewhere)
        write_classes(folder, names, feature_KE, logits)
        say(f"{role}: mean features of {len(names)} classes")
    # Not in the file: the same training gives the same bytes, however long it takes.
    return card if card.seconds else replace(card, seconds=_since(started))


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)


def train_role(role: str, data: TrainingData, say: Say) -> tuple[Any, dict[str, float]]:
    """Train one role and measure it; the same seed gives the same weights.

    Returns:
        the frozen net and its metrics.
    """
    trainers: dict[str, Callable[..., tuple[Any, dict[str, float]]]] = {
        "clip": train_clip,
        "dino": train_dino,
        "classifier": train_classifier,
        "guide": train_classifier,
        "judge": train_judge,
        "scorer": train_clip,
    }
    images = getattr(data, role if role in OTHER_DRAWINGS else "train")
    seed = zlib.crc32(f"{role} {data.seed}".encode())
    # Libraries draw initial weights from the global generator; the caller's is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        net, metrics = trainers[role](images, getattr(data.config, role).train, rng, say)
    return net, metrics | measure(role, net, data)
