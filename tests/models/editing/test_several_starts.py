"""A search from several places near the code: a curve of two valleys, whose depths are known."""

import pytest
import torch

from models.editing.optimise import optimise


def curve(x):
    """Return a curve with a low valley near -1 and a high one near 1."""
    return ((x.square() - 1).square() + 0.3 * x).sum(dim=1)


def search(at, starts, *, distance_weight=0.0, size=4.0, report=lambda step: None):
    start = {"x": torch.tensor(at)[:, None], "fixed": torch.ones(len(at), 1)}
    return optimise(
        start,
        moves={"x"},
        draw=lambda parts: parts["x"] * parts["fixed"],
        clip=curve,
        distance_weight=distance_weight,
        steps=200,
        learning_rate=0.05,
        starts=starts,
        sizes={"x": torch.full((1, 1), size)},
        report=report,
    )


def test_one_start_stays_in_its_valley_and_several_find_the_lower_one():
    assert search([0.9], 1)["x"].item() == pytest.approx(0.96, abs=0.02)
    assert search([0.9], 8)["x"].item() == pytest.approx(-1.04, abs=0.02)


def test_each_code_keeps_its_own_best_and_the_first_start_is_the_code_itself():
    found = search([0.9, -0.9], 8)
    assert found["x"].flatten().tolist() == pytest.approx([-1.04, -1.04], abs=0.02)
    assert torch.equal(found["x"][1:], search([-0.9], 8)["x"])
    assert torch.equal(found["fixed"], torch.ones(2, 1))
    # Further starts that are no better change nothing.
    assert torch.equal(search([-1.0], 3, size=0.0)["x"], search([-1.0], 1)["x"])


def test_the_distance_is_that_to_the_code_and_not_to_the_start():
    """Where it weighs much, the search comes back to the code from wherever it began."""
    assert search([0.9], 8, distance_weight=50.0)["x"].item() == pytest.approx(0.9, abs=0.02)


def test_every_step_names_its_start():
    steps = []
    search([0.9], 3, report=steps.append)
    assert [step.start for step in steps] == [0] * 200 + [1] * 200 + [2] * 200
    assert steps[200].step == 0 and steps[200].distance > 0 and steps[0].distance == 0
