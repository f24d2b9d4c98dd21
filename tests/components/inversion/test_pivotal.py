"""Pivotal tuning draws an image that no code gives; codes, mapping and the record stay true."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from components.artifacts.label_to_image import LabelToImage
from components.inversion import ImageDistance, find_code, tune_around
from components.inversion.invert_image import invert_image
from components.sampling import draw_codes
from models.interfaces import Condition
from tests.components.inversion.conftest import QUICK

CARD = {
    "shape": {"pooled_dim": 0, "num_labels": 3},
    "label_names": ["cat", "dog", "owl"],
    "files": {"generator.safetensors": "ab" * 32},
}
CONFIG = dataclasses.replace(QUICK, steps=30, pivotal_steps=40, pivotal_learning_rate=3e-3)


def photo() -> torch.Tensor:
    """A picture that the generator never drew: a disc on a ramp."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 16), indexing="ij")
    disc = ((x - 0.2).square() + y.square() < 0.3).float()
    return torch.stack([x, disc * 2 - 1, -y])[None]


def test_tuning_comes_nearer_than_any_code(generator, net) -> None:
    condition, distance = Condition(label_N=torch.tensor([1])), ImageDistance(photo(), net)
    found = find_code(generator, condition, distance, CONFIG)
    assert found.distance < found.mean_distance
    before = {name: x.clone() for name, x in generator.state_dict().items()}
    steps = tune_around(generator, found.ws_LD, condition, distance, CONFIG)
    assert abs(steps[0].distance - found.distance) < 1e-6
    assert steps[0].distance == pytest.approx(found.distance, rel=1e-5)
    assert steps[-1].distance < 0.5 * steps[0].distance
    image = generator.synthesize(found.ws_LD[None], condition)
    assert float(distance(image).total_N) == steps[-1].distance
    moved = {n for n, x in generator.state_dict().items() if not torch.equal(x, before[n])}
    assert moved
    assert all(name.startswith("synthesis.") for name in moved), "codes keep their meaning"
    assert not any(p.requires_grad for p in generator.parameters())


def test_the_whole_is_a_function_of_its_arguments(generator, net) -> None:
    start = {name: x.clone() for name, x in generator.state_dict().items()}
    model, distance = LabelToImage(generator, CARD), ImageDistance(photo(), net)
    first = invert_image(model, CARD, "dog", distance, CONFIG)
    tuned = {name: x.clone() for name, x in generator.state_dict().items()}
    assert np.array_equal(draw_codes(model, [first.code])[0], first.pictures["tuned"])
    assert not np.array_equal(first.pictures["found"], first.pictures["tuned"])
    generator.load_state_dict(start)
    assert np.array_equal(draw_codes(model, [first.code])[0], first.pictures["found"])
    second = invert_image(model, CARD, "dog", distance, CONFIG)
    assert torch.equal(first.code.ws_LD, second.code.ws_LD)
    assert first.steps == second.steps
    assert all(torch.equal(x, tuned[name]) for name, x in generator.state_dict().items())
    assert [step.phase for step in first.steps] == ["code"] * 31 + ["pivotal"] * 41
