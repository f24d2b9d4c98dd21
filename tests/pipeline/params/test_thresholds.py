"""Thresholds of publish: all metrics may be named, and what can never be met is refused at once."""

from __future__ import annotations

import pytest

from components.artifacts.metric_names import METRICS
from tests.pipeline.params.params_example import put, valid
from tests.pipeline.params.test_params import problems

BAR = {"min": 0.5}
GATES = ("judge.background", "judge.size", "judge.colour", "judge.shape", "silhouette.shape")
GATES += ("silhouette.worst", "silhouette_cells.small ring", "seed_variety", "seed_variety_centre")
GATES += ("memorised", "memorised_pixels", "frechet_judge.ratio", "recall")


def refused(tmp_path, thresholds, *changes) -> dict[str, str]:
    values = valid()
    put(values, ("encoders", "judge", "source"), "train")
    put(values, ("publish", "thresholds"), thresholds)
    for path, value in changes:
        put(values, path, value)
    return problems(tmp_path, values)


def test_all_attributes_variety_and_memorisation_are_gates(tmp_path):
    assert refused(tmp_path, dict.fromkeys(GATES, BAR)) == {}


def test_an_unknown_metric_is_an_error_that_names_the_known_ones(tmp_path):
    found = refused(tmp_path, {"seed_varieti": BAR, "recall": BAR})
    (line,) = found.values()
    assert "publish.thresholds.seed_varieti" in line
    assert "unknown metric; did you mean seed_variety?" in line
    assert all(name in line for name in METRICS)


def test_a_threshold_without_a_side_is_an_error(tmp_path):
    (line,) = refused(tmp_path, {"recall": {}}).values()
    assert line.endswith("got neither; allowed: min, max or both")


@pytest.mark.parametrize(
    "name, change, why",
    [
        ("judge.all", (("encoders", "judge", "source"), "none"), "encoders.judge.source is none"),
        ("clip_score", (("source", "condition"), "none"), "for condition is none"),
    ],
)
def test_what_is_never_measured_is_no_gate(tmp_path, name, change, why):
    assert refused(tmp_path, {name: BAR}) == {}
    found = refused(tmp_path, {name: BAR, "recall": BAR}, change)
    assert why in found[f"publish.thresholds.{name}"]
    assert "publish.thresholds.recall" not in found
