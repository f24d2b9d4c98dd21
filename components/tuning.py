"""Search over a recipe's tunable fields: what to vary, how a trial is judged, which one wins.

Plain functions over plain values; who runs the trials, and where, is the pipeline's business. The
judge never takes part: a trial is scored by CLIP alignment (up), by a Frechet distance on a frozen
net's features (down), which guards against pictures that only please CLIP, and by the variety of
the seeds of a prompt (up), for a strong guidance pleases both with one picture per prompt.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from components.durable_files import replace_file
from components.errors import ConfigError
from models.fields import Between

# Metrics of a trial and which way is better.
OBJECTIVES = {"frechet": "min", "alignment": "max", "seed_variety": "max"}
LEAST_VARIETY = 0.01  # all that is below counts as this: the logarithm stays finite
# A positive range this wide is searched on a logarithmic scale.
LOGARITHMIC_RATIO = 30.0


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """The `tune` section of params.yaml."""

    trials: Annotated[int, Between(0, 100000)] = 4
    """Trials in all; the first has the recipe's own values; 0 = keep those without a search."""
    concurrent: Annotated[int, Between(1, 1000)] = 2
    """Trials at the same time. The next ones are chosen when all of these have ended, so that the
    same search gives the same trials however fast each of them is."""
    threads_per_trial: Annotated[int, Between(1, 1024)] = 1
    """Threads of torch's CPU kernels in each trial; on GPUs a trial is one process on one GPU."""
    kimg: Annotated[float, Between(0.001, None)] = 1.0
    """Training of one trial, in thousands of images."""
    rungs: Annotated[int, Between(1, 100)] = 2
    """Times a trial is scored on its way. At each but the last, a scalar search stops a trial that
    is worse than half of the trials of earlier waves were; a wave is `concurrent` trials."""
    search: Literal["scalar", "pareto"] = "scalar"
    """scalar: one score, bad trials stop early; pareto: all three metrics, all trials finish."""
    fields: dict[str, list[float]] = field(default_factory=dict)
    """Recipe field -> [low, high]; {} = the first `num_fields` that the recipe calls tunable."""
    num_fields: Annotated[int, Between(1, 100)] = 2
    """How many of the recipe's tunable fields to vary when `fields` is {}."""
    alignment_weight: Annotated[float, Between(0.0, None)] = 5.0
    """Score = ln(Frechet distance / min(1, seed variety / variety_goal)) - alignment_weight * CLIP
    similarity; lower is better."""
    variety_goal: Annotated[float, Between(0.0, 1.0)] = 0.6
    """Seed variety from which on more is worth nothing; below, half of it costs as much as twice
    the distance. 0 = not asked for. For captions that never come twice, a lower goal: 1 is then as
    different as any two real images."""
    min_gain: Annotated[float, Between(0.0, None)] = 0.05
    """A trial replaces the recipe's own values only when its score is better by more than this."""
    features: Literal["classifier", "dino"] = "dino"
    """Frozen net whose features the Frechet distance compares."""
    num_images: Annotated[int, Between(8, None)] = 512
    """Images per scoring."""
    revision: Annotated[int, Between(1, None)] = 1
    """Raise by hand to search again although nothing else has changed."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search, ready to be run.

    Attributes:
        space: field -> (kind, low, high); kind is "uniform", "loguniform" or "randint" (high not
            included).
        first: the point that is tried first.
        objectives: metric -> "min" or "max". One: bad trials stop early. Several: a search for the
            Pareto front.
        trials: how many.
        concurrent: at the same time.
        seed: of the sampler.
        clock: metric that counts how far a trial has come.
        limit: clock at which a trial ends.
    """

    space: dict[str, tuple[str, float, float]]
    first: dict[str, float]
    objectives: dict[str, str]
    trials: int
    concurrent: int
    seed: int
    clock: str
    limit: float


def plan_search(
    config: TuneConfig,
    tunable: Mapping[str, tuple[float, float]],
    own: Mapping[str, Any],
    seed: int,
) -> Search:
    """Turn the config and a recipe into a search.

    Args:
        config: the tune section.
        tunable: the recipe's tunable fields, field -> (low, high), the most useful first.
        own: the recipe's own values of all fields.
        seed: of the sampler.

    Raises:
        ConfigError: a field that the recipe does not call tunable, or an empty range.
    """
    ranges: dict[str, Sequence[float]] = dict(list(tunable.items())[: config.num_fields])
    if config.fields:
        ranges = dict(config.fields)
    for name, bounds in ranges.items():
        where = f"tune.fields.{name}"
        if name not in tunable:
            names = ", ".join(tunable) or "none"
            raise ConfigError(f"{name} is not tunable", where, f"choose among: {names}")
        if len(bounds) != 2 or not bounds[0] < bounds[1]:
            raise ConfigError(f"got {list(bounds)}", where, "give [low, high] with low < high")
    space = {name: _domain(low, high, own[name]) for name, (low, high) in ranges.items()}
    first = {name: min(max(own[name], ranges[name][0]), ranges[name][1]) for name in space}
    return Search(
        space=space,
        first=first,
        objectives={"score": "min"} if config.search == "scalar" else dict(OBJECTIVES),
        trials=config.trials,
        concurrent=config.concurrent,
        seed=seed,
        clock="kimg",
        limit=config.kimg,
    )


def _domain(low: float, high: float, own: Any) -> tuple[str, float, float]:
    if isinstance(own, int) and not isinstance(own, bool):
        return "randint", int(low), int(high) + 1
    if low > 0 and high / low >= LOGARITHMIC_RATIO:
        return "loguniform", float(low), float(high)
    return "uniform", float(low), float(high)


def rung_kimgs(config: TuneConfig) -> list[float]:
    """Return where on its way, in kimg, a trial is scored: evenly spaced, the last at the end."""
    return [config.kimg * (i + 1) / config.rungs for i in range(config.rungs)]


def scalar_score(scores: Mapping[str, float], config: TuneConfig) -> float:
    """Return the one number that trials are compared by; lower is better.

    The distance is divided by the part of the wanted variety that the seeds have: a trial that
    draws one picture per prompt must not win by a small distance. More than the goal is worth
    nothing, since noise varies too. The logarithm makes "half the distance" worth the same at the
    start and at the end of training.

    Args:
        scores: `frechet`, `alignment` and `seed_variety`.
        config: the weight of the alignment, and the goal of the variety.
    """
    lost = 0.0
    if config.variety_goal:
        reached = max(scores["seed_variety"], LEAST_VARIETY) / config.variety_goal
        lost = -math.log(min(1.0, reached))
    distance = math.log(max(scores["frechet"], 1e-12))
    return distance + lost - config.alignment_weight * scores["alignment"]


def ends_early(score: float, earlier: Sequence[float]) -> bool:
    """Return whether a trial with this score ends: half of the `earlier` ones were better."""
    better = sum(not score <= other for other in earlier)  # NaN is worse than all
    return bool(earlier) and 2 * better >= len(earlier)


def trial_key(values: Mapping[str, Any]) -> str:
    """Return a short name for a point of the search space: its values decide, nothing else."""
    text = json.dumps(dict(values), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def pareto_front(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows that no other row beats in all metrics, best Frechet distance first.

    A seed variety above 1, that of real images, is no gain.
    """

    def beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        gains = [other["frechet"] - one["frechet"], one["alignment"] - other["alignment"]]
        gains.append(min(1.0, one["seed_variety"]) - min(1.0, other["seed_variety"]))
        return min(gains) >= 0 and max(gains) > 0

    front = [row for row in rows if not any(beats(other, row) for other in rows)]
    return sorted(front, key=lambda row: row["frechet"])


def choose(rows: Sequence[Mapping[str, Any]], own_key: str, min_gain: float) -> Mapping[str, Any]:
    """Return the winning row: the best score, unless the recipe's own values are nearly as good.

    Args:
        rows: trials that came to the end of their way, each with `key` and `score`.
        own_key: `trial_key` of the recipe's own values.
        min_gain: by how much a score must be better than theirs.
    """
    best = min(rows, key=lambda row: row["score"])
    own = next((row for row in rows if row["key"] == own_key), None)
    return own if own is not None and own["score"] - best["score"] <= min_gain else best


def run_trial(
    settings: Mapping[str, Any],
    values: Mapping[str, Any],
    report: Callable[[Mapping[str, Any]], None],
) -> None:
    """Train with `values` for the trial's length and report its scores at every rung.

    One process, no Ray Train inside: starting a worker group takes longer than a short trial. What
    a killed trial has finished is found again in its folder, which is named after its values.

    Args:
        settings: JSON: `job` (fields of TrainingJob, with the recipe's own values), `config`
            (fields of TuneConfig), `folder` of all trials, `device`, and `kept_in`, the search's
            address where trials are kept in a store ("" = in `folder`).
        values: recipe field -> value of this trial.
        report: called with {kimg, frechet, alignment, seed_variety, score} at every rung.
    """
    from components.data.far_folders import below
    from components.training.distributed import World
    from components.training.far_run import FarRun, with_inputs
    from components.training.job import TrainingJob

    config = TuneConfig(**settings["config"])
    if settings["device"] == "cpu":
        import torch

        torch.set_num_threads(config.threads_per_trial)
    folder, job = Path(settings["folder"]) / trial_key(values), TrainingJob(**settings["job"])
    recipe = {**job.recipe, **values}
    job = replace(job, recipe=recipe, run_dir=str(folder), fingerprint=f"trial {folder.name}")
    if kept_in := settings.get("kept_in", ""):
        job = with_inputs(replace(job, kept_in=below(kept_in, folder.name)).here(), World())
        folder = Path(job.run_dir)
        FarRun(job.kept_in, folder).bring()
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "values.json", json.dumps(dict(values)))
    for rung, kimg in enumerate(rung_kimgs(config)):
        path = folder / f"rung-{rung}.json"
        if not path.exists():
            scores = _train_and_score(job, kimg, config, settings["device"])
            replace_file(path, json.dumps(scores))
            if job.kept_in:
                FarRun(job.kept_in, folder).send()
        report(json.loads(path.read_text()))


def _train_and_score(job: Any, kimg: float, config: TuneConfig, device: str) -> dict[str, float]:
    """Train on to `kimg`, from where the rung before has ended, and score the averaged model."""
    from components.artifacts.artifact import load_generator
    from components.data.batches import BatchSource
    from components.evaluation.quick import quick_scores
    from components.training.distributed import World
    from components.training.run import run_job

    run_dir = Path(job.run_dir)
    # The artifact of the rung before would say that the training is finished.
    shutil.rmtree(run_dir / "artifact", ignore_errors=True)
    job = replace(job, train={**job.train, "total_kimg": kimg})
    run_job(job, World(device=device), lambda line: None, device)
    generator, card = load_generator(run_dir / "artifact")
    place = (Path(job.data_dir), "heldout", card["resolution_px"], job.seed)
    batches = BatchSource(*place, shrink=getattr(generator, "shrinks", 1))
    scores = quick_scores(
        generator.to(device),
        batches,
        Path(job.encoders_dir),
        num=config.num_images,
        seed=job.seed,
        role=config.features,
    )
    return {"kimg": kimg, "score": scalar_score(scores, config), **scores}
