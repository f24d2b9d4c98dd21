"""The plain parts of a search: its space, its score, its winner."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from operator import le

import pytest

from components import tuning
from components.errors import ConfigError
from components.tuning import (
    TuneConfig,
    choose,
    ends_early,
    pareto_front,
    plan_search,
    rung_kimgs,
    scalar_score,
    trial_key,
)

TUNABLE = {"weight": (0.1, 20.0), "fade": (1.0, 10.0), "depth": (1.0, 4.0)}
OWN = {"weight": 1.6, "fade": 50.0, "depth": 2, "other": 3}


def test_the_most_useful_fields_come_first_and_ranges_pick_their_scale():
    search = plan_search(TuneConfig(num_fields=3), TUNABLE, OWN, seed=5)
    assert search.space == {
        "weight": ("loguniform", 0.1, 20.0),  # A factor of 200.
        "fade": ("uniform", 1.0, 10.0),
        "depth": ("randint", 1, 5),  # An integer in the recipe; Ray leaves the upper end out.
    }
    assert list(plan_search(TuneConfig(num_fields=1), TUNABLE, OWN, 0).space) == ["weight"]


def test_the_first_trial_has_the_recipes_own_values_as_far_as_the_range_goes():
    search = plan_search(TuneConfig(), TUNABLE, OWN, seed=0)
    assert search.first == {"weight": 1.6, "fade": 10.0}


def test_given_fields_replace_the_recipes_ranges():
    search = plan_search(TuneConfig(fields={"fade": [2.0, 3.0]}), TUNABLE, OWN, seed=0)
    assert search.space == {"fade": ("uniform", 2.0, 3.0)}


@pytest.mark.parametrize("fields", [{"other": [0.0, 1.0]}, {"fade": [3.0, 2.0]}, {"fade": [1.0]}])
def test_wrong_fields_are_named(fields):
    with pytest.raises(ConfigError, match=rf"tune.fields.{next(iter(fields))}"):
        plan_search(TuneConfig(fields=fields), TUNABLE, OWN, seed=0)


def test_scalar_search_has_one_objective_and_pareto_three():
    scalar = plan_search(TuneConfig(), TUNABLE, OWN, 0)
    pareto = plan_search(TuneConfig(search="pareto"), TUNABLE, OWN, 0)
    assert scalar.objectives == {"score": "min"}
    assert pareto.objectives == {"frechet": "min", "alignment": "max", "seed_variety": "max"}


def test_rungs_end_at_the_end():
    config = TuneConfig(kimg=0.9, rungs=3)
    assert rung_kimgs(config) == pytest.approx([0.3, 0.6, 0.9]) and rung_kimgs(config)[-1] == 0.9
    assert plan_search(config, TUNABLE, OWN, 0).limit == rung_kimgs(config)[-1]


def test_a_trial_ends_where_half_of_the_earlier_ones_were_better():
    assert not ends_early(9.0, [])
    assert [ends_early(score, [1.0, 3.0]) for score in (0.5, 1.0, 2.0, 4.0)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert [ends_early(score, [1.0, 2.0, 3.0]) for score in (1.5, 2.5)] == [False, True]
    assert ends_early(math.nan, [1.0, 2.0])


def row(frechet, alignment, seed_variety=1.0, **more):
    return {"frechet": frechet, "alignment": alignment, "seed_variety": seed_variety, **more}


def score(*values, **config) -> float:
    return scalar_score(row(*values), TuneConfig(alignment_weight=5.0, **config))


def test_half_the_distance_is_worth_the_same_everywhere():
    gains = [score(d, 0.1) - score(d / 2, 0.1) for d in (1000.0, 2.0)]
    assert gains[0] == pytest.approx(gains[1]) == pytest.approx(math.log(2))
    assert score(1.0, 0.3) == pytest.approx(-1.5)
    assert math.isfinite(score(0.0, 0.0, 0.0))


def test_half_the_wanted_variety_costs_as_much_as_twice_the_distance():
    wanted = {"variety_goal": 0.6}
    assert score(3.0, 0.2, 0.3, **wanted) == pytest.approx(score(6.0, 0.2, 0.6, **wanted))
    assert score(3.0, 0.2, 0.6, **wanted) == pytest.approx(math.log(3) - 1.0)
    assert score(3.0, 0.2, 5.0, **wanted) == score(3.0, 0.2, 0.6, **wanted)  # noise wins nothing
    assert score(3.0, 0.2, 0.0, variety_goal=0.0) == score(3.0, 0.2, 1.0, variety_goal=0.0)


def test_a_guidance_that_kills_variety_is_not_chosen():
    """The stronger one is better by distance and alignment, and draws one picture per prompt."""
    strong, weak = row(2.0, 0.75, 0.05), row(4.0, 0.7, 0.7)
    for goal, better in ((0.6, "weak"), (0.0, "strong")):
        config = TuneConfig(variety_goal=goal)
        rows = [
            {"key": key, "score": scalar_score(one, config)}
            for key, one in (("strong", strong), ("weak", weak))
        ]
        assert choose(rows, "own", 0.05)["key"] == better
    assert len(pareto_front([strong, weak])) == 2


def test_the_front_is_what_nothing_beats():
    rng = random.Random(0)
    rows = [row(rng.randint(1, 6), rng.randint(1, 6), rng.randint(1, 8) / 6) for _ in range(60)]
    front = pareto_front(rows)
    # Brute force: a row is out when another is at least as good three times and better once;
    # a variety beyond that of real images counts as that.
    points = [(r["frechet"], -r["alignment"], -min(1.0, r["seed_variety"])) for r in rows]
    for one, point in zip(rows, points, strict=True):
        beaten = any(o != point and all(map(le, o, point)) for o in points)
        assert (one in front) is not beaten
    assert [r["frechet"] for r in front] == sorted(r["frechet"] for r in front)


def test_a_trial_must_be_clearly_better_than_the_recipes_own_values():
    own, near, far = (
        {"key": k, "score": s} for k, s in (("own", 1.0), ("near", 0.97), ("far", 0.5))
    )
    assert choose([near, own], "own", 0.05) is own
    assert choose([near, own], "own", 0.01) is near
    for rows in itertools.permutations([own, near, far]):
        assert choose(rows, "own", 0.05) is far
    assert choose([near], "own", 0.05) is near  # Its own values may not have come to the end.


def test_the_key_of_a_trial_is_its_values():
    assert trial_key({"a": 1.0, "b": 2}) == trial_key({"b": 2, "a": 1.0})
    assert trial_key({"a": 1.0}) != trial_key({"a": 1.0000001})


def test_a_trial_trains_on_from_rung_to_rung_and_repeats_nothing(tmp_path, monkeypatch):
    from components.training.job import TrainingJob

    asked, told = [], []

    def train_and_score(job, kimg, config, device):
        asked.append((job.recipe["weight"], kimg, job.run_dir))
        return {"kimg": kimg, "score": 1.0, **row(1.0, 0.0)}

    monkeypatch.setattr(tuning, "_train_and_score", train_and_score)
    job = TrainingJob(
        stage="tune", seed=0, recipe={"name": "x", "weight": 1.0}, train={}, run_dir=""
    )
    settings = {
        "job": dataclasses.asdict(job),
        "config": dataclasses.asdict(TuneConfig(kimg=1.0, rungs=2)),
        "folder": str(tmp_path),
        "device": "none",
    }
    for _ in range(2):  # The second time, as after a kill between report and Ray's snapshot.
        tuning.run_trial(settings, {"weight": 4.0}, lambda metrics: told.append(metrics["kimg"]))
    folder = str(tmp_path / trial_key({"weight": 4.0}))
    assert asked == [(4.0, 0.5, folder), (4.0, 1.0, folder)]
    assert told == [0.5, 1.0, 0.5, 1.0]
