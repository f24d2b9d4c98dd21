"""Seeds of a prompt against real images: by definition, at both ends, and where too few compare."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from components.evaluation.seed_variety import (
    ANY,
    THE_SAME,
    TOO_FEW,
    Against,
    grouped,
    spread,
    variety,
)


def test_spread_is_the_mean_distance_of_pairs_in_a_group():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4))
    groups = [(0, 3, 5), (1, 2), (4, 6, 7, 8)]
    pairs = [pair for group in groups for pair in itertools.combinations(group, 2)]
    expected = np.mean([np.linalg.norm(vectors[i] - vectors[j]) for i, j in pairs])
    assert spread(torch.tensor(vectors), groups) == pytest.approx(expected)


def test_what_is_nowhere_is_left_out():
    vectors = torch.tensor([[0.0, 0.0], [3.0, 4.0], [float("nan")] * 2])
    assert spread(vectors, [(0, 1, 2)]) == pytest.approx(5)
    assert spread(vectors, [(0, 2)]) is None
    assert spread(vectors, []) is None


def test_one_is_as_real_images_and_zero_one_picture_per_prompt():
    rng = np.random.default_rng(1)
    shown = [row % 20 for row in range(400)]
    of_prompt = rng.normal(size=(20, 6)) * 10  # prompts are far apart, which must not count
    real = torch.tensor(of_prompt[shown] + rng.normal(size=(400, 6)))
    prompts = [row // 8 for row in range(160)]
    other = torch.tensor(of_prompt[prompts] + rng.normal(size=(160, 6)))
    table = torch.tensor(of_prompt[prompts])
    against = Against.of(shown)
    assert against.words == THE_SAME
    assert variety(other, grouped(prompts), real, against) == pytest.approx(1, abs=0.08)
    assert variety(table, grouped(prompts), real, against) == 0
    assert variety(other, grouped(prompts), real * 0, against) is None


def test_captions_that_never_come_twice_are_compared_with_all():
    against = Against.of([f"a caption {i}" for i in range(30)])
    assert against.words == TOO_FEW and against.groups == (tuple(range(30)),)
    assert Against.of([None] * 30).words == ANY
    assert grouped(["a", "b", "a"]) == ((0, 2),)
