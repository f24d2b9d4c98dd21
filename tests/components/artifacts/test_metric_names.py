"""Names of metrics: what evaluation writes is known, and what is known is told and documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from components.artifacts.metric_names import METRICS, is_metric, why_no_metric

MEASURES = Path(__file__).parents[3] / "docs" / "measures.md"


@pytest.mark.parametrize(
    "name",
    [
        *("judge.background", "judge.size", "judge.colour", "judge.shape", "judge.all"),
        *("silhouette.shape", "silhouette.worst", "silhouette_cells.large ring"),
        *("seed_variety", "seed_variety_centre", "memorised", "memorised_pixels"),
        *("frechet_judge.ratio", "frechet_mobilenet_v2.after", "fid.after", "kernel_dino"),
        *("judge_variety.shape", "recall"),
    ],
)
def test_names_that_a_threshold_may_use(name):
    assert is_metric(name)


@pytest.mark.parametrize(
    "name", ["", "judge", "silhouette", "seed_varieti", "frechet_judge", "judge.taste", "seed"]
)
def test_other_names_are_refused_with_the_known_ones(name):
    assert not is_metric(name)
    assert all(known in why_no_metric(name) for known in METRICS)
    assert "did you mean seed_variety?" in why_no_metric("seed_varieti")


def test_every_metric_is_told_of_in_measures():
    told = set(re.findall(r"`([^`]+)`", MEASURES.read_text(encoding="utf-8")))
    assert [name for name in METRICS if name.partition(".")[0] not in told] == []
