"""The run of a whole pipeline in MLflow: one row with what was asked for and what it gave.

The stages of one command (`make demo`, `dvc repro`, `dvc exp run`) are nested below it. A stage
that was started by itself stands alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.family import recipe_from
from components.artifacts.publishing import metric_at
from models.families import families
from pipeline.places import repository
from pipeline.tracking.tracker import RunIdentity, Tracker

if TYPE_CHECKING:
    from pipeline.params.sections import Params

# Name of a column -> where evaluation has the number. `frechet` stands for whatever net measured.
FINAL = {
    "judge_all": "judge.all",
    "judge_shape": "judge.shape",
    "outline": "silhouette.shape",
    "clip_score": "clip_score",
    "seed_variety": "seed_variety",
    "recall": "recall",
    "memorised": "memorised",
}
# Name in MLflow -> in DVC's tables, where nine columns and a parameter share 160 characters.
SHORT = {
    "judge_all": "judge",
    "judge_shape": "shape",
    "clip_score": "clip",
    "seed_variety": "seeds",
    "memorised": "copies",
    "frechet_ratio": "ratio",
}


def open_whole_run(params: Params, say: Callable[[str], None]) -> Tracker:
    """Return the run of the command that this process is a stage of; a silent one without any."""
    from pipeline.cluster.guardian import command_above

    run = os.environ.get("GANLINE_PIPELINE_RUN", "")
    if not run and (command := command_above()):
        # A worker of DVC's queue is one command, and runs each experiment in a copy of its own.
        copy = "" if Path.cwd() == repository() else f"-{Path.cwd().name}"
        run = f"{command.pid}-{command.started:.0f}{copy}"
    if not run:
        return Tracker.silent()
    tracking = dataclasses.replace(params.tracking, system_every_s=0.0)
    identity = RunIdentity(
        "pipeline", run, tracking.experiment, name=run_name(params), reopens=True
    )
    return Tracker(tracking, identity, {"stage": "pipeline", "pipeline.run": run}, say)


def run_name(params: Params) -> str:
    """Return what was asked for and when: data, resolution, family, day and time."""
    last = max([params.train_base, *params.superres.values()], key=lambda s: s.resolution_px)
    data = (
        "shapes"
        if params.synthesize.pairs
        else " + ".join(Path(source.path).name for source in params.sources)
    )
    family = family_title(str(params.train_base.recipe.get("name", "")))
    return f"{data} {last.resolution_px} px, {family}, {time.strftime('%d %b %H:%M').lstrip('0')}"


def family_title(name: str) -> str:
    """Return a family's name as people write it: the first words of its package's docstring."""
    found = families().get(name)
    if found is None:
        return name
    package = importlib.import_module(found.recipe.partition(":")[0].rpartition(".")[0])
    title = (package.__doc__ or "").partition(":")[0].strip()
    return title if title and "\n" not in title else name


def guidance(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe that a search varies, and the first as `guidance_weight`.

    So one chart has every family's on its axis.
    """
    family = recipe_from(recipe)
    fields = {field: getattr(family, field) for field in family.tunable}
    first = next((field for field in fields if field.endswith("weight")), "")
    return {**fields, **({"guidance_weight": fields[first]} if first else {})}


def asked_for(params: Params, card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that people compare runs by.

    Args:
        params: of the pipeline.
        card: of the model that was measured.
    """
    recipe = {"name": card["recipe"]["name"], **card["recipe"]["fields"]}
    stages = [params.train_base, *params.superres.values(), params.text_encoder]
    return {
        "family": recipe["name"],
        "resolution": card["resolution_px"],
        "kimg": round(sum(stage.total_kimg for stage in stages), 3),
        "seed": params.seed,
        "data": str(card.get("data_content_hash") or "")[:12],
        **guidance(recipe),
    }


def final_numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of one row; what was not measured is left out."""
    found = {name: metric_at(scores, place) for name, place in FINAL.items()}
    distances = [name for name in scores if name.startswith("frechet_") or name == "fid"]
    if distances:
        found["frechet"] = metric_at(scores, f"{distances[0]}.after")
        found["frechet_ratio"] = metric_at(scores, f"{distances[0]}.ratio")
    return {name: value for name, value in found.items() if value is not None}


def headline(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the same numbers for DVC's tables, under short names and rounded."""
    numbers = final_numbers(scores).items()
    return {SHORT.get(name, name): round(value, 4) for name, value in numbers}
