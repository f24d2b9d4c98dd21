"""Make every frozen net that later stages use: train it, open a published one, or have none."""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from components.artifacts.frozen_nets import ABSENT
from components.data.config import SourceConfig
from components.errors import DataError
from components.pretraining.attributes import attribute_accuracy, train_judge
from components.pretraining.class_features import class_features, logit_names, write_classes
from components.pretraining.classifier import label_accuracy, train_classifier
from components.pretraining.clip import retrieval, train_clip
from components.pretraining.config import ROLES, EncodersConfig
from components.pretraining.dino import neighbour_accuracy, train_dino
from components.pretraining.fitting import Say
from components.pretraining.images import ImageSet, hold_out, read_clean_split, read_images
from components.pretraining.pretrained import open_pretrained
from models.features import FeatureCard, save_feature_net

INDEX = "index.json"
KNOWS_CLASSES = ("classifier", "dino", "guide")
_MAX_HELD_OUT = 1_000


@dataclass
class TrainingData:
    """The splits that the roles train on and are measured on, each read when first asked for.

    Without clean splits (real data) the user's source stands in, one part of it held out.

    Attributes:
        raw: folder with the clean splits encoders, judge and test, if any.
        source, source_folder: the user's data.
        config: sizes and limits.
        seed: of the held-out part.
    """

    raw: Path
    source: SourceConfig
    source_folder: Path
    config: EncodersConfig
    seed: int

    @cached_property
    def _side_px(self) -> int:
        # An absent guide does not decide at what size the others' images are read.
        roles = [r for r in ROLES if r != "guide" or self.config.guide.source != "none"]
        return max(getattr(self.config, role).train.image_size_px for role in roles)

    @cached_property
    def _from_source(self) -> tuple[ImageSet, ImageSet]:
        limit = self.config.max_images
        images = read_images(self.source, self.source_folder, self._side_px, limit)
        rng = torch.Generator().manual_seed(self.seed)
        return hold_out(images, min(_MAX_HELD_OUT, -(-len(images) // 10)), rng)

    def _split(self, name: str) -> ImageSet | None:
        folder = self.raw / name
        if not any(folder.glob("*.tar")):
            return None
        # By the classes that are trained on, where they have a name of their own.
        return read_clean_split(folder, self._side_px, self.source.label_columns or "label")

    @cached_property
    def train(self) -> ImageSet:
        """Images for clip, dino, classifier and guide."""
        return self._split("encoders") or self._from_source[0]

    @cached_property
    def judge(self) -> ImageSet:
        """Images for the judge; no role that guides has seen them."""
        images = self._split("judge")
        if images is None:
            todo = "run synthesize, or set encoders.judge.source: none for real data"
            raise DataError("no drawings to train the judge on", str(self.raw / "judge"), todo)
        return images

    @cached_property
    def scorer(self) -> ImageSet:
        """Images for the scorer: the judge's, which guide nothing; without drawings the source."""
        drawn = any((self.raw / "judge").glob("*.tar"))
        return self.judge if drawn else self._from_source[0]

    @cached_property
    def test(self) -> ImageSet:
        """Images that no role has trained on."""
        return self._split("test") or self._from_source[1]


def make_encoders(data: TrainingData, out: Path, say: Say) -> dict[str, FeatureCard]:
    """Make all roles and replace the folder `out` by them in one step.

    Returns:
        role -> card, for every role whose source is not none.
    """
    building = out.with_name(out.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    cards: dict[str, FeatureCard] = {}
    for role in ROLES:
        if getattr(data.config, role).source != "none":
            cards[role] = _make(role, data, building / role, say)
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


def _make(role: str, data: TrainingData, folder: Path, say: Say) -> FeatureCard:
    started = time.monotonic()
    config = getattr(data.config, role)
    if config.source == "pretrained":
        net, source = open_pretrained(role, config.pretrained)
        metrics: dict[str, float] = {}
    else:
        net, metrics = train_role(role, data, lambda text: say(f"{role}: {text}"))
        source = "trained by ganline"
    seconds = round(time.monotonic() - started, 1)
    metrics = {name: round(value, 5) for name, value in metrics.items()}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    say(f"{role}: ready in {seconds:.0f} s {shown}")
    facts = {"role": role, "source": source, "metrics": metrics, "seconds": seconds}
    card = save_feature_net(folder, net, **facts)
    if data.source.condition == "label" and role in KNOWS_CLASSES:
        trained = config.source == "train"
        logits = logit_names(net, data.train.label_names if trained else ())
        names, feature_KE = class_features(
            net, data.source, data.source_folder, data.config.class_images
        )
        write_classes(folder, names, feature_KE, logits)
        say(f"{role}: mean features of {len(names)} classes")
    return card


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
    images = getattr(data, role if role in ("judge", "scorer") else "train")
    seed = zlib.crc32(f"{role} {data.seed}".encode())
    # Libraries draw initial weights from the global generator; the caller's is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rng = torch.Generator().manual_seed(seed)
        net, metrics = trainers[role](images, getattr(data.config, role).train, rng, say)
    return net, metrics | _measure(role, net, data)


def _measure(role: str, net: Any, data: TrainingData) -> dict[str, float]:
    if role in ("clip", "scorer"):
        return retrieval(net, data.test)
    if role == "judge":
        return attribute_accuracy(net, data.test)
    test = data.test.numbered_as(data.train.label_names)
    if role == "dino":
        return neighbour_accuracy(net, data.train, test)
    return label_accuracy(net, test)
