"""Walks: the stops are the images of their prompts and seeds, steps are small, a loop closes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from components.artifacts.label_to_image import LabelToImage
from components.errors import ConfigError
from components.sampling import Keyframe, generate, slerp, walk
from models.interfaces import ConditionShape
from tests.components.sampling.conftest import make_generator

A, B, C = (Keyframe(prompt=p, seed=s) for p, s in (("a", 1), ("bb", 2), ("ccc", 3)))


def _walk(model, *arguments, **options) -> np.ndarray:
    return np.concatenate(list(walk(model, *arguments, **options))).astype(int)


@pytest.mark.parametrize("space", ["w", "z"])
def test_the_stops_are_met_and_steps_are_small(model, space) -> None:
    stops = generate(model, ["a", "bb", "ccc"], [1, 2, 3])
    frames = _walk(model, [A, B, C], 41, space=space, batch=7)
    assert frames.shape == (41, 16, 16, 3)
    for place, stop in zip((0, 20, 40), stops, strict=True):
        assert np.abs(frames[place] - stop).max() <= 1
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 0.4 * np.abs(stops[0].astype(int) - stops[1]).mean()
    assert steps.min() > 0


def test_a_loop_comes_back_without_a_double_frame(model) -> None:
    there = _walk(model, [A, B], 3)
    loop = _walk(model, [A, B], 4, loop=True)
    assert np.abs(loop[:3] - there).max() <= 1
    assert np.abs(loop[3] - loop[1]).max() <= 1, "half way back is half way there"


def test_noise_stands_still(model) -> None:
    still = [Keyframe(prompt="a", seed=4)] * 2
    frames = _walk(model, still, 5, noise="random", batch=2)
    assert np.abs(frames - generate(model, ["a"], [4], noise="random")[0]).max() <= 1


def test_slerp_keeps_to_the_sphere_and_the_pace() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    for share in (0.0, 0.25, 0.5, 1.0):
        x = slerp(a, b, torch.tensor([[share]]))[0]
        assert float(x.norm()) == pytest.approx(1 + 2 * share, abs=1e-6)
        assert math.atan2(x[1], x[0]) == pytest.approx(share * math.pi / 2, abs=1e-6)


@pytest.mark.parametrize("other", [[1.0, 0.0], [1.0, 1e-7], [-1.0, 0.0], [0.0, 0.0]])
def test_slerp_is_finite_where_the_arc_is_not_defined(other) -> None:
    x = slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([other]), torch.tensor([[0.5]]))
    assert x.isfinite().all()
    assert x.norm() <= 1.001


def test_classes_move_in_w() -> None:
    card = {"shape": {"pooled_dim": 0, "num_labels": 3}, "label_names": ["cat", "dog", "owl"]}
    generator = make_generator(ConditionShape(num_labels=3))
    model = LabelToImage(generator, card)
    stops = [Keyframe(prompt="cat", seed=1), Keyframe(prompt="owl", seed=1)]
    frames = _walk(model, stops, 3)
    assert np.abs(frames[[0, 2]] - generate(model, ["cat", "owl"], [1, 1])).max() <= 1
    assert np.abs(frames[1] - frames[0]).mean() > 0.5
    with pytest.raises(ConfigError, match="classes cannot be mixed in z"):
        _walk(model, stops, 3, space="z")


def test_a_model_of_nothing_walks_between_seeds() -> None:
    generator = make_generator(ConditionShape())
    model = LabelToImage(generator, {"shape": {"pooled_dim": 0, "num_labels": 0}})
    stops = [Keyframe(prompt="no prompt", seed=s) for s in (1, 2)]
    assert _walk(model, stops, 5, space="z").std() > 1


@pytest.mark.parametrize(
    ("stops", "frames", "options", "says"),
    [
        ([A], 5, {}, "nothing to walk between"),
        ([A, B], 1, {}, "1 frame for 2 stops"),
        ([A, B], -3, {}, "-3 frames"),
        ([A, B, C], 2, {}, "2 frames for 3 stops"),
        ([A, B], 10**6, {}, "1000000 frames"),
        ([A, B], 2.5, {}, "frames is a float"),
        ([A, B], 5, {"space": "p"}, "space is 'p'"),
        ([A, B], 5, {"truncation": 9}, "truncation is 9"),
    ],
)
def test_walks_that_cannot_be_are_one_line(model, stops, frames, options, says) -> None:
    with pytest.raises(ConfigError) as caught:
        _walk(model, stops, frames, **options)
    assert says in str(caught.value)
