"""The training job that the stages train_base, superres, text_encoder and adapt share.

They differ in where they start.

The run lives in $GANLINE_RUNS_DIR/<stage>-<fingerprint>, outside DVC's outputs: the same command
continues it, a changed parameter or input starts another, and a finished one is only copied out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.artifact import read_card, weights_hash
from components.artifacts.family import recipe_fields, recipe_from
from components.artifacts.frozen_nets import encoder_hashes
from components.code_version import git_commit
from components.data.far_folders import RUNS, below
from components.data.pictures import pictures_hash
from components.durable_files import publish_folder, replace_file
from components.errors import ConfigError, DataError, StorageError
from components.training.job import TrainingJob
from models.fields import without_later
from pipeline.fingerprint import data_content_hash, digest, training_fingerprint
from pipeline.params.resolved import keyed_entry
from pipeline.places import runs_folder
from pipeline.progress import (
    METRICS,
    OF_THE_MACHINE,
    Progress,
    metrics_of,
    of_the_model,
    read_ticks,
)
from pipeline.stages.curve import CURVE, write_curve
from pipeline.stages.estimates import JOB, estimate
from pipeline.stages.frame import StageContext, run_stage

if TYPE_CHECKING:
    from components.training.config import StageConfig

KEYED = ("superres", "adapt")  # stages with an entry for each key


def run_training_stage(stage: str, argv: list[str] | None = None) -> int:
    """Run one of the four stages and return its exit code.

    Args:
        stage: train_base, superres, text_encoder or adapt.
        argv: the command line without the program; default sys.argv.
    """
    argv = sys.argv[1:] if argv is None else argv
    return run_stage(
        stage_name(stage, argv),
        arguments=lambda parser: _arguments(parser, stage),
        work=_work,
        plan=_plan,
        argv=argv,
    )


def stage_name(stage: str, argv: list[str]) -> str:
    """Return the stage as dvc.yaml names it: train_base, or superres@64."""
    has_key = stage in KEYED and argv and not argv[0].startswith("-")
    return f"{stage}@{argv[0]}" if has_key else stage


def _arguments(parser: argparse.ArgumentParser, stage: str) -> None:
    parser.set_defaults(stage=stage)
    if stage in KEYED:
        parser.add_argument("key", help="key of the stage's entry in params, as 64")
    parser.set_defaults(data=None)
    if stage != "adapt":
        parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--encoders", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--start", type=Path, default=None, metavar="ARTIFACT")
    parser.add_argument("--guidance", type=Path, default=None, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="ARTIFACT")
    parser.add_argument("--report", type=Path, default=None, metavar="JSON")
    parser.add_argument("--curve", type=Path, default=None, metavar="CSV")
    parser.add_argument(
        "--no-fallback",
        action="store_true",
        help="refuse an older state than the newest",
    )


def stage_config(context: StageContext) -> StageConfig:
    """Return the section of params that the command names; ConfigError when there is none."""
    options = context.arguments
    if options.stage not in KEYED:
        section: StageConfig = getattr(context.params, options.stage)
        return section
    return keyed_entry(context.params, options.stage, options.key)


def resolve_recipe(
    config: StageConfig, guidance: Path | None, start: dict[str, Any] | None
) -> dict[str, Any]:
    """Return all fields of the recipe: the start artifact's, then params', then what tuning chose.

    Args:
        config: the stage's section.
        guidance: guidance.json of the tune stage, {"fields": {...}}.
        start: card of the artifact to start from.
    """
    values = dict(config.recipe)
    if start is not None and "name" not in values:
        values = {"name": start["recipe"]["name"], **start["recipe"]["fields"], **values}
    elif start is not None and getattr(recipe_from(values), "adapts", False):
        fields = start["recipe"]["fields"]  # of a model that was adapted itself: of its parent
        values["parent"] = fields.get("parent") or {"name": start["recipe"]["name"], **fields}
    if guidance is not None:
        try:
            values |= json.loads(guidance.read_text()).get("fields", {})
        except (OSError, ValueError, AttributeError) as error:
            raise StorageError(str(error), str(guidance), "run the tune stage") from error
    return recipe_fields(recipe_from(values))


def make_job(context: StageContext) -> TrainingJob:
    """Return the training that the command stands for; writes nothing."""
    options, config = context.arguments, stage_config(context)
    start = read_card(options.start) if options.start else None
    recipe = resolve_recipe(config, options.guidance, start)
    family = recipe_from(recipe)
    decides = {config.measure_role} if config.keep_weights == "best" else set()
    hashes = encoder_hashes(options.encoders, {*family.encoder_roles, *decides})
    has_data = options.data is not None and (
        family.needs_data or (options.data / "manifest.json").is_file()
    )
    pictures = [pictures_hash(Path(x)) for x in getattr(family, "picture_folders", ())]
    data_hash = data_content_hash(options.data) if has_data else ""
    fingerprint = training_fingerprint(
        seed=context.params.seed,
        stage=without_later(type(config), dataclasses.asdict(config)),
        recipe=without_later(type(family), recipe),
        data_hash=digest([data_hash, *pictures]) if pictures else data_hash,
        encoder_hashes=hashes,
        start_hash=weights_hash(start) if start else "",
    )
    stage = f"{options.stage}_{options.key}" if options.stage in KEYED else options.stage
    name, store = f"{stage}-{fingerprint[:12]}", context.params.cluster.store
    return TrainingJob(
        stage=stage,
        seed=context.params.seed,
        recipe=json.loads(json.dumps(recipe)),
        train=dataclasses.asdict(config.train),
        run_dir=str(runs_folder() / name),
        data_dir=str(options.data.absolute()) if has_data else "",
        encoders_dir=str(options.encoders.absolute()),
        start_dir=str(options.start.absolute()) if options.start else "",
        artifact_dir=str(options.out.absolute()),
        pictures_dir=str(Path.cwd()) if pictures else "",
        fingerprint=fingerprint,
        code_version=git_commit() or "unknown",
        kept_in=below(store, RUNS, name) if store else "",
    )


def is_finished(job: TrainingJob) -> bool:
    """Return whether the run folder already holds the whole artifact of this very job."""
    try:
        card = read_card(Path(job.run_dir) / "artifact")
    except StorageError:
        return False
    return card.get("fingerprint") == job.fingerprint


def nothing_to_do(context: StageContext) -> str:
    """Return why the stage has nothing to train, '' when it has.

    Only text_encoder may: the graph has one shape, whether the model takes text or not.
    """
    options, config = context.arguments, stage_config(context)
    if options.stage != "text_encoder":
        return ""
    if config.total_kimg == 0:
        return "total_kimg is 0"
    return "" if read_card(options.start)["shape"]["pooled_dim"] else "the model takes no text"


def _pass_on(context: StageContext, reason: str) -> None:
    """Hand the start artifact on as it is; report and curve say so."""
    options = context.arguments
    out = options.out.absolute()
    temporary = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(options.start, temporary)
    publish_folder(temporary, out)
    report = {"stage": options.stage, "passed_on": reason, "kimg": 0.0, "nimg": 0}
    for path in filter(None, (options.report, options.curve)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if options.report:
        replace_file(options.report, json.dumps(report, indent=2) + "\n")
    if options.curve:
        replace_file(options.curve, ",".join(CURVE) + "\n")
    context.say(f"{options.stage}: {reason}, {options.out} is {options.start}")


def _work(context: StageContext) -> None:
    if reason := nothing_to_do(context):
        _pass_on(context, reason)
        return
    job = make_job(context)
    _check_ranks(context, job)
    context.tracker.set_tags({"run.folder": Path(job.run_dir).name})
    context.tracker.log_params({"recipe": job.recipe})
    if job.data_dir:
        data_hash = data_content_hash(Path(job.data_dir))
        context.tracker.log_dataset("train", data_hash, job.data_dir)
    run_dir, batch = Path(job.run_dir), job.train["batch"]
    progress = Progress(run_dir, context.tracker, context.say, job.stage, batch)
    if is_finished(job):
        context.say(f"{job.stage}: {job.run_dir} is finished, taking its artifact")
        progress.catch_up(quietly=True)
    else:
        from pipeline.cluster.inputs import share_job
        from pipeline.cluster.launch import run_training

        run_dir.mkdir(parents=True, exist_ok=True)
        shared = share_job(job, context.params.cluster.store)
        shared = dataclasses.replace(shared, fallback=not context.arguments.no_fallback)
        replace_file(run_dir / JOB, json.dumps(dataclasses.asdict(shared), indent=1))
        with progress.following():
            result = run_training(shared, context.params.cluster, context.say)
        context.session.update(result["session"])
    _publish(job, context)


def _check_ranks(context: StageContext, job: TrainingJob) -> None:
    size = job.train["micro_batch"]
    atoms = job.train["batch"] // (1 if size == "auto" else size)
    workers = context.params.cluster.num_workers
    if atoms % workers:
        what = f"{atoms} micro-batches (batch / micro_batch) on {workers} workers"
        todo = "use a number of workers that divides them"
        raise ConfigError(what, "cluster.num_workers", todo)


def _publish(job: TrainingJob, context: StageContext) -> None:
    """Copy the artifact out of the run folder and write report and curve."""
    options, run_dir = context.arguments, Path(job.run_dir)
    out = options.out.absolute()
    temporary = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(run_dir / "artifact", temporary)
    if (run_dir / "samples").is_dir():
        shutil.copytree(run_dir / "samples", temporary / "samples")
    publish_folder(temporary, out)
    ticks = read_ticks(run_dir)
    if not ticks:
        raise DataError("no ticks", str(run_dir / METRICS), "remove the run folder and run again")
    last = metrics_of(ticks[-1])
    report = {"stage": job.stage, "fingerprint": job.fingerprint[:12], **of_the_model(last)}
    report["nimg"] = ticks[-1]["nimg"]
    speed = ticks[-1]["nimg"] / max(last["seconds"], 1e-9)
    context.facts.update({name: last[name] for name in sorted(OF_THE_MACHINE & last.keys())})
    context.facts["images_per_s"] = round(speed, 2)
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        replace_file(options.report, json.dumps(report, indent=2) + "\n")
    if options.curve:
        write_curve(options.curve, ticks)
    context.tracker.log_artifact(out / "card.json")
    context.say(
        f"{job.stage}: {report['kimg']:g} kimg in {last['seconds']:.0f} s of training, "
        f"{speed:.0f} images/s -> {options.out}"
    )


def _plan(context: StageContext) -> dict[str, Any]:
    try:
        if reason := nothing_to_do(context):
            return {"training": f"none: {reason}, the artifact is passed on"}
        job = make_job(context)
    except (DataError, StorageError) as error:
        return {"sizes, time, memory": f"unknown until the stages before have run: {error}"}
    plan = {"recipe": job.recipe, "run_folder": job.run_dir, "finished": is_finished(job)}
    return plan | estimate(job, runs_folder())
