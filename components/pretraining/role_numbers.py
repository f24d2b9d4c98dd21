"""What a frozen net of a role decides on images that it never saw, and how often it is right."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from components.pretraining.attributes import attribute_accuracy, attribute_guesses
from components.pretraining.classifier import label_accuracy, label_guesses
from components.pretraining.clip import nearest_prompt, retrieval
from components.pretraining.dino import neighbour_accuracy, neighbour_votes
from components.pretraining.training_data import TrainingData


def measure(role: str, net: Any, data: TrainingData) -> dict[str, float]:
    """Return the role's metrics on `data.test`, from 0 to 1."""
    if role in ("clip", "scorer"):
        return retrieval(net, data.test)
    if role == "judge":
        return attribute_accuracy(net, data.test)
    test = data.test.numbered_as(data.train.label_names)
    if role == "dino":
        return neighbour_accuracy(net, data.train, test)
    return label_accuracy(net, test)


def decide(role: str, net: Any, data: TrainingData) -> dict[str, Tensor]:
    """Return what the metrics of `measure` count, before truth is asked: integers [N] by name."""
    if role in ("clip", "scorer"):
        return {"prompt": nearest_prompt(net, data.test)}
    if role == "judge":
        return attribute_guesses(net, data.test)
    test = data.test.numbered_as(data.train.label_names)
    if role == "dino":
        return neighbour_votes(net, data.train, test)
    return {"label": label_guesses(net, test)}
