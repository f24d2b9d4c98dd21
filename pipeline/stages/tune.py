"""Stage tune: search the recipe's tunable fields with short trainings, and write the best ones.

    python -m pipeline.stages.tune --data data/train --encoders artifacts/encoders
        --out artifacts/tune

Writes guidance.json, which train_base lays over its recipe, trials.csv, pareto.json and tune.png;
never params.yaml. The search lives in $GANLINE_RUNS_DIR/tune-<fingerprint>: the same command
continues it after a kill, and trials that finished are not run again.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.family import recipe_from
from components.artifacts.frozen_nets import encoder_hashes, present_roles
from components.code_version import git_commit
from components.data.far_folders import RUNS, below
from components.durable_files import publish_folder, replace_file
from components.errors import DataError, ResourceError, StorageError
from components.training.config import MEASURING, TrainConfig
from components.tuning import Search, TuneConfig, choose, pareto_front, plan_search, trial_key
from models.fields import without_later
from pipeline.cluster.inputs import share_folder
from pipeline.cluster.launch import run_search
from pipeline.fingerprint import data_content_hash, digest
from pipeline.places import runs_folder
from pipeline.stages.frame import StageContext, run_stage
from pipeline.stages.train import resolve_recipe
from pipeline.stages.tune_progress import TrialWatch
from pipeline.stages.whole_run import guidance as guidance_of
from pipeline.tracking.mlflow_door import open_door
from pipeline.tracking.pages import UI_HOST, UI_PORT, experiment_link

if TYPE_CHECKING:
    from pipeline.tracking.tracker import Tracker

ROWS = "rows.json"
LINK_S = 10.0  # so long MLflow may take to know the search
_SCORES = ("kimg", "score", "frechet", "alignment", "seed_variety")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A search as it will be run: its folder, the search, and what every trial is told."""

    run_dir: Path
    search: Search
    settings: dict[str, Any]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--encoders", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--report", type=Path, default=None, metavar="JSON")


def make_plan(context: StageContext) -> Plan:
    """Return the search that the command stands for; writes nothing unless a cluster is used."""
    options, config, stage = context.arguments, context.params.tune, context.params.train_base
    recipe = json.loads(json.dumps(resolve_recipe(stage, None, None)))
    family = recipe_from(recipe)
    search = plan_search(config, family.tunable, recipe, context.params.seed)
    data_hash = data_content_hash(options.data)
    roles = present_roles(options.encoders)
    hashes = encoder_hashes(options.encoders, roles)
    train = {k: v for k, v in dataclasses.asdict(stage.train).items() if k not in MEASURING}
    train |= {"save_every_kimg": 0.0, "sample_every_kimg": 0.0, "keep_states": 1}
    train["total_kimg"] = config.kimg
    used = {role: hashes.get(role, "") for role in (*family.encoder_roles, config.features)}
    seed = context.params.seed
    asked = (
        without_later(TuneConfig, dataclasses.asdict(config)),
        without_later(type(family), recipe),
        without_later(TrainConfig, train),
    )
    name = digest([*asked, seed, data_hash, used])[:12]
    run_dir, store = runs_folder() / f"tune-{name}", context.params.cluster.store
    job = {
        "stage": "tune",
        "seed": seed,
        "recipe": recipe,
        "train": train,
        "run_dir": str(run_dir),
        "data_dir": share_folder(options.data, store),
        "encoders_dir": share_folder(options.encoders, store),
        "code_version": git_commit() or "unknown",
    }
    settings = {
        "job": job,
        "config": dataclasses.asdict(config),
        "folder": str(run_dir / "trials"),
        "kept_in": below(store, RUNS, run_dir.name) if store else "",
        "device": "cuda" if context.params.cluster.use_gpu else "cpu",
    }
    return Plan(run_dir=run_dir, search=search, settings=settings)


def _work(context: StageContext) -> None:
    config = context.params.tune
    if config.trials == 0:
        context.say("tune: no trials asked for, the recipe keeps its own values")
        _publish(context, [], {"fields": {}, "trials": 0})
        return
    plan = make_plan(context)
    rows = _rows_of(plan, context)
    finished = [row for row in rows if row["status"] == "finished"]
    if not finished:
        errors = [row["error"] for row in rows if row["error"]]
        reason = errors[0].strip().splitlines()[-1] if errors else "no trial came to its end"
        raise ResourceError(f"no trial finished: {reason}", str(plan.run_dir), "see ray's logs")
    own_key = trial_key(plan.search.first)
    best = choose(finished, own_key, config.min_gain)
    _track(context.tracker, plan, rows)
    guidance = {
        "fields": {} if best["key"] == own_key else {n: best[n] for n in plan.search.space},
        "chosen": best["key"],
        "trials": len(rows),
        **{name: best[name] for name in _SCORES},
    }
    _publish(context, rows, guidance)
    _say_end(context, plan, rows, guidance, best)


def _say_end(
    context: StageContext,
    plan: Plan,
    rows: Sequence[Mapping[str, Any]],
    guidance: Mapping[str, Any],
    best: Mapping[str, Any],
) -> None:
    chosen = guidance["fields"] or "the recipe's own values"
    for line in _table(rows, list(plan.search.space), best["key"]):
        context.say(f"tune: {line}")
    context.say(
        f"tune: {len(rows)} trials, chosen: {chosen} (score {best['score']:.3f}, "
        f"distance {best['frechet']:.4g}, seed variety {best['seed_variety']:.2f})"
    )
    context.say(f"tune: the picture of all trials: {context.arguments.out / 'tune.png'}")
    if link := _link(context):
        context.say(f"tune: their charts and sheets: `make ui`, then {link}")


def _link(context: StageContext) -> str:
    """Return where MLflow shows the trials, '' when it has not taken them yet."""
    tracking = context.params.tracking
    if not tracking.enabled or context.tracker.run_id(timeout_s=LINK_S) is None:
        return ""
    door = open_door(tracking, runs_folder())  # the one that this process sends by
    address = door.uri if door.is_remote else f"http://{UI_HOST}:{UI_PORT}"
    return experiment_link(address, door.experiments[tracking.search_experiment])


def _rows_of(plan: Plan, context: StageContext) -> list[dict[str, Any]]:
    """Return the rows of the search, which is run unless it has finished before."""
    path = plan.run_dir / ROWS
    if path.is_file():
        context.say(f"tune: {plan.run_dir} is finished, taking its trials")
        return list(json.loads(path.read_text()))
    cluster = dataclasses.replace(
        context.params.cluster, cpus_per_worker=float(context.params.tune.threads_per_trial)
    )
    config = context.params.tune
    context.say(
        f"tune: {config.trials} trials of {config.kimg:g} kimg, {config.concurrent} at a time; "
        f"a kill loses no finished one: {plan.run_dir}"
    )
    folder = Path(plan.settings["folder"])
    with TrialWatch(folder, config.trials, config.rungs, context.say).following():
        results = run_search(plan.settings, plan.search, plan.run_dir, cluster, context.say)
    rows = [_row(result, plan.search.limit) for result in results]
    replace_file(path, json.dumps(rows, indent=1))
    return rows


def _row(result: Mapping[str, Any], limit: float) -> dict[str, Any]:
    scores = {name: result["metrics"].get(name) for name in _SCORES}
    reached = scores["kimg"] is not None and scores["kimg"] >= limit
    status = "failed" if result["error"] else "finished" if reached else "stopped"
    values = dict(result["values"])
    key = trial_key(values)
    return {"key": key, "status": status, **values, **scores, "error": result["error"]}


def _track(tracker: Tracker, plan: Plan, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record every trial as a run beside the search's, with its own times."""
    from PIL import Image

    for row in rows:
        folder = Path(plan.settings["folder"]) / row["key"]
        values = {name: row[name] for name in plan.search.space}
        rungs = sorted(folder.glob("rung-*.json"))
        files = [path for path in (folder / "values.json", *rungs[-1:]) if path.is_file()]
        times = [path.stat().st_mtime_ns // 10**6 for path in files] or [0]  # failed at once: now
        trial = tracker.trial(
            row["key"], trial_name(values), {"trial": row["key"], "status": row["status"]}, times[0]
        )
        trial.log_params(guidance_of({**plan.settings["job"]["recipe"], **values}) | values)
        for path in rungs:
            scores = json.loads(path.read_text())
            step = round(scores.pop("kimg") * 1000)
            trial.log_metrics(scores, step=step)
        sheets = sorted((folder / "samples").glob("*.png"), key=lambda path: int(path.stem))
        for path in sheets[-1:]:
            with Image.open(path) as image:
                trial.log_image("samples", image.copy(), step=0)
        trial.close("FAILED" if row["status"] == "failed" else "FINISHED", times[-1])


def trial_name(values: Mapping[str, Any]) -> str:
    """Return the values of a trial as its name: `clip_weight 1.2, blur_fade_kimg 0.8`."""
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def _table(rows: Sequence[Mapping[str, Any]], space: Sequence[str], chosen: str) -> list[str]:
    """Return the trials as lines for a terminal, the best first."""
    columns = [*space, "score", "frechet", "alignment", "seed_variety"]
    width = [max(len(name), 9) for name in columns]
    lines = ["  ".join(name.rjust(w) for name, w in zip(columns, width, strict=True))]
    for row in sorted(rows, key=lambda row: (row["score"] is None, row["score"] or 0.0)):
        cells = ["-" if row[name] is None else f"{row[name]:.4g}" for name in columns]
        note = "chosen" if row["key"] == chosen else row["status"]
        text = "  ".join(cell.rjust(w) for cell, w in zip(cells, width, strict=True))
        lines.append(f"{text}  {note if note != 'finished' else ''}".rstrip())
    return lines


def _publish(
    context: StageContext, rows: Sequence[Mapping[str, Any]], guidance: Mapping[str, Any]
) -> None:
    """Write the output folder in one step, and the report."""
    from PIL import Image

    from pipeline.stages.tune_chart import draw_trials

    out = context.arguments.out.absolute()
    temporary = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    scored = [row for row in rows if row["frechet"] is not None]
    front = pareto_front([row for row in scored if row["status"] == "finished"])
    (temporary / "guidance.json").write_text(json.dumps(guidance, indent=2) + "\n")
    (temporary / "pareto.json").write_text(json.dumps(front, indent=2) + "\n")
    columns = list(rows[0]) if rows else ["key", "status", *_SCORES]
    with (temporary / "trials.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw_trials(temporary / "tune.png", scored, front, guidance.get("chosen", ""))
    publish_folder(temporary, out)
    context.tracker.log_artifact(out, "tune")
    with Image.open(out / "tune.png") as picture:
        context.tracker.log_image("trials", picture.copy(), step=0)
    if options := context.arguments.report:
        statuses = [row["status"] for row in rows]
        counts = {name: statuses.count(name) for name in ("finished", "stopped", "failed")}
        options.parent.mkdir(parents=True, exist_ok=True)
        replace_file(options, json.dumps({**guidance, **counts}, indent=2) + "\n")


def _plan(context: StageContext) -> dict[str, Any]:
    config = context.params.tune
    if config.trials == 0:
        return {"search": "none: the recipe keeps its own values"}
    try:
        plan = make_plan(context)
    except (DataError, StorageError) as error:
        return {"search": f"unknown until the stages before have run: {error}"}
    return {
        "run_folder": str(plan.run_dir),
        "space": plan.search.space,
        "first": plan.search.first,
        "images": round(config.trials * config.kimg * 1000),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("tune", arguments=_arguments, work=_work, plan=_plan, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
