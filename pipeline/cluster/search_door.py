"""The door to Ray Tune's searchers and schedulers: what is tried next, and which trial ends early.

A search must not depend on which of two trials at a time is quicker. So points are asked for in
waves, and a trial is compared with those of earlier waves alone. This module imports Ray as it is
loaded: only `ray_door.tune` loads it, after the switches of config.py are set.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import optuna
from ray import tune as ray_tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from components.tuning import Search, ends_early
from pipeline.cluster.config import ClusterConfig


def search_options(search: Search, folder: Path, config: ClusterConfig) -> dict[str, Any]:
    """Return the options of a Tuner whose Optuna search begins at `search.first`."""
    ranges = search.space.items()
    space = {name: getattr(ray_tune, kind)(low, high) for name, (kind, low, high) in ranges}
    goal: dict[str, Any] = {
        "metric": list(search.objectives),
        "mode": list(search.objectives.values()),
    }
    is_scalar = len(search.objectives) == 1  # For a front all trials finish.
    if is_scalar:
        goal = {key: value[0] for key, value in goal.items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = OptunaSearch(points_to_evaluate=[search.first], seed=search.seed, **goal)
    return {
        "param_space": space,
        "tune_config": ray_tune.TuneConfig(
            search_alg=InWaves(sampler, search.concurrent),
            scheduler=StopsTheWorse(search, goal["metric"]) if is_scalar else FIFOScheduler(),
            num_samples=search.trials,
            trial_dirname_creator=lambda t: t.trial_id,  # The default spells out every value.
            reuse_actors=True,
        ),
        "run_config": ray_tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=ray_tune.FailureConfig(max_failures=config.max_failures),
            verbose=0,
        ),
    }


class InWaves(Searcher):
    """Asks `inner` for the points of a wave only when it knows all results of the one before.

    The results are told in the order of the points, whatever order they came in, so the points are
    a function of the search alone.
    """

    def __init__(self, inner: Searcher, size: int) -> None:
        super().__init__(metric=inner.metric, mode=inner.mode)
        self._inner, self._size = inner, size
        self._wave: list[str] = []
        self._ends: dict[str, tuple[dict[str, Any] | None, bool]] = {}

    def set_search_properties(self, *arguments: Any, **options: Any) -> bool:
        """Hand the search space on."""
        return bool(self._inner.set_search_properties(*arguments, **options))

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next point, None while the wave is full and runs."""
        if len(self._wave) == self._size:
            if len(self._ends) < self._size:
                return None
            for one in self._wave:
                result, error = self._ends[one]
                self._inner.on_trial_complete(one, result=result, error=error)
            self._wave, self._ends = [], {}
        point: dict[str, Any] | None = self._inner.suggest(trial_id)
        if point is not None:
            self._wave.append(trial_id)
        return point

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Keep the result until the wave is told."""
        self._ends[trial_id] = (result, error)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: a search that was killed begins again and meets its trials' files."""


class StopsTheWorse(FIFOScheduler):
    """Stops a trial that is worse at a rung than half of the trials of earlier waves were there."""

    def __init__(self, search: Search, metric: str) -> None:
        super().__init__()
        self._search, self._metric = search, metric
        self._scores: dict[float, dict[int, float]] = defaultdict(dict)  # rung -> trial -> score

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return Ray's word for going on or stopping."""
        size, number = self._search.concurrent, controller.get_trials().index(trial)
        here = self._scores[result[self._search.clock]]
        here[number] = result[self._metric]
        first_of_wave = number - number % size
        earlier = [score for other, score in here.items() if other < first_of_wave]
        return str(self.STOP if ends_early(here[number], earlier) else self.CONTINUE)
