"""A search asks for the same trials and stops the same ones, however fast each of them is."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.tuning import OBJECTIVES, Search, ends_early
from pipeline.cluster.config import ClusterConfig

TRIALS, WAVE = 15, 3  # Optuna's first ten points are random, what follows depends on results


def search(objectives: Mapping[str, str]) -> Search:
    return Search(
        space={"weight": ("uniform", 0.0, 4.0), "fade": ("uniform", 0.0, 4.0)},
        first={"weight": 1.0, "fade": 2.0}, objectives=dict(objectives), trials=TRIALS,
        concurrent=WAVE, seed=3, clock="kimg", limit=2.0,
    )  # fmt: skip


def asked(order: Callable[[int], list[int]], objectives: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the points of a search whose waves end in the given order."""
    from pipeline.cluster.search_door import search_options

    options = search_options(search(objectives), Path("unused"), ClusterConfig())
    searcher = options["tune_config"].search_alg
    metric, mode = list(objectives), list(objectives.values())
    if len(metric) == 1:
        metric, mode = metric[0], mode[0]
    assert searcher.set_search_properties(metric, mode, options["param_space"])
    points: list[dict[str, Any]] = []
    for wave in range(TRIALS // WAVE):
        numbers = [wave * WAVE + i for i in range(WAVE)]
        points += [searcher.suggest(str(number)) for number in numbers]
        for i in order(wave):
            assert searcher.suggest("early") is None  # until all have ended
            value = sum((x - 3.0) ** 2 for x in points[numbers[i]].values())
            searcher.on_trial_complete(str(numbers[i]), dict.fromkeys(objectives, value))
    return points


@pytest.mark.parametrize("objectives", [{"score": "min"}, OBJECTIVES])
def test_the_points_do_not_depend_on_who_ends_first(objectives):
    forward = asked(lambda wave: [0, 1, 2], objectives)
    assert forward[0] == {"weight": 1.0, "fade": 2.0}
    assert len({tuple(point.values()) for point in forward}) == TRIALS
    orders = list(itertools.permutations(range(WAVE)))
    assert asked(lambda wave: list(orders[wave]), objectives) == forward


class Trial:
    """A trial of two rungs that takes a random time; its score depends on its values alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, values: dict[str, Any], report: Callable[[Mapping[str, Any]], None]) -> None:
        dice = random.Random(f"{self.seed} {values}")
        for rung in (1.0, 2.0):
            time.sleep(dice.uniform(0.0, 0.1))
            score = sum((x - 3.0) ** 2 for x in values.values()) / rung
            report({"kimg": rung, "score": score})


@pytest.mark.slow
def test_trials_of_any_speed_give_the_same_search(tmp_path: Path):
    from pipeline.cluster.ray_door import tune

    config = ClusterConfig(cpus_per_worker=0.5)
    rows = [tune(Trial(seed), search({"score": "min"}), tmp_path, config) for seed in (1, 2)]
    seen = [[(r["values"], r["metrics"]["kimg"], r["metrics"]["score"]) for r in of] for of in rows]
    assert seen[0] == seen[1] and len(seen[0]) == TRIALS

    # The rule, by hand: a trial goes on where fewer than half of earlier waves were better.
    at_rung_one = [score * kimg for _, kimg, score in seen[0]]
    for number, (_, kimg, _) in enumerate(seen[0]):
        earlier = at_rung_one[: number - number % WAVE]
        assert (kimg == 1.0) == ends_early(at_rung_one[number], earlier)
    assert {kimg for _, kimg, _ in seen[0]} == {1.0, 2.0}
