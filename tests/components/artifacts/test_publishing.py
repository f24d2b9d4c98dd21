"""Thresholds: what misses, and how it is said."""

from __future__ import annotations

import pytest

from components.artifacts.publishing import (
    Threshold,
    held_out_images,
    metric_at,
    missed_thresholds,
)

METRICS = {
    "judge": {"all": 0.5, "shape": 0.9},
    "frechet_judge": {"before": 80.0, "after": 20.0, "ratio": 0.25},
    "clip_score": None,
}


@pytest.mark.parametrize(
    ("name", "threshold", "says"),
    [
        ("judge.all", Threshold(min=0.5), None),
        ("judge.all", Threshold(min=0.51), "judge.all is 0.5, wanted at least 0.51"),
        ("frechet_judge.ratio", Threshold(max=0.25), None),
        ("frechet_judge.ratio", Threshold(max=0.2), "frechet_judge.ratio is 0.25, wanted at most"),
        ("judge.shape", Threshold(min=0.1, max=0.8), "judge.shape is 0.9, wanted at least 0.1 and"),
        ("clip_score", Threshold(min=0.1), "clip_score was not measured, wanted at least 0.1"),
        ("judge", Threshold(min=0.1), "judge was not measured, wanted at least 0.1"),
        ("judge.not.here", Threshold(max=1), "judge.not.here was not measured, wanted at most 1"),
    ],
)
def test_a_missed_threshold_names_metric_value_and_bound(name, threshold, says) -> None:
    missed = missed_thresholds(METRICS, {name: threshold})
    assert len(missed) == (1 if says else 0)
    assert all(line.startswith(str(says)) for line in missed)


def test_every_missed_threshold_is_listed() -> None:
    wanted = {"judge.all": Threshold(min=0.9), "judge.shape": Threshold(min=0.95)}
    assert len(missed_thresholds(METRICS, wanted)) == 2


def test_not_a_number_misses() -> None:
    nan = {"judge": {"all": float("nan")}}
    assert missed_thresholds(nan, {"judge.all": Threshold(min=0.0)})
    assert metric_at({"a": True}, "a") is None


def test_held_out_images_are_those_of_the_distances_and_not_the_trained_on() -> None:
    cards = {
        "clip_score": {"num_real": 0},
        "memorised": {"num_real": 149},
        "memorised_pixels": {"num_real": 149},
        "memorised_held_out": {"num_real": 149},
        "frechet_dino": {"num_real": 37},
    }
    assert held_out_images({"cards": cards}) == 37
    assert held_out_images({"cards": cards | {"fid": {"num_real": 41}}}) == 41
    del cards["frechet_dino"]
    assert held_out_images({"cards": cards}) == held_out_images({}) == 0
