"""Rows that people read: a run per pipeline, trials beside their search, a folder that moved."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipeline.params.sections import load_params
from pipeline.stages import tune
from pipeline.stages.whole_run import open_whole_run
from pipeline.tracking.mlflow_door import MlflowDoor
from pipeline.tracking.pages import RUN_NOTES, run_note
from pipeline.tracking.tracker import open_stage_tracker
from tests.pipeline.tracking.test_tracking import (
    QUIET,
    database,
    migrated_database,
    open_run,
    runs,
    the_runs,
)

__all__ = ["database", "migrated_database", "runs"]
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_trials_stand_beside_the_search_with_their_own_times(runs, database):
    search = open_run(stage="tune")
    trial = search.trial("a", "clip_weight 1.2", {"trial": "a"}, started_ms=1_000_000)
    trial.log_metrics({"frechet": 3.0}, step=500)
    trial.close(ended_ms=1_060_000)
    # What `ganline tune` ends with: the charts of the experiment, as `make ui` opens them.
    link = tune._link(SimpleNamespace(params=SimpleNamespace(tracking=QUIET), tracker=search))
    number = database.get_experiment_by_name("ganline-search").experiment_id
    assert link.startswith(f"http://127.0.0.1:5055/#/experiments/{number}/runs?compareRunsMode=")
    search.close()
    (found,) = (r for r in the_runs(database, "ganline-search") if r.data.tags["stage"] == "trial")
    assert found.info.run_name == "clip_weight 1.2" and found.data.metrics == {"frechet": 3.0}
    assert found.info.end_time - found.info.start_time == 60_000
    assert "mlflow.parentRunId" not in found.data.tags  # a nested run is left out of the charts
    assert found.data.tags["search"] == search.identity["key"]
    assert "One trial of a search" in found.data.tags["mlflow.note.content"]
    off = SimpleNamespace(tracking=dataclasses.replace(QUIET, enabled=False))
    assert tune._link(SimpleNamespace(params=off, tracker=search)) == ""


@pytest.mark.slow
def test_all_stages_of_a_command_are_nested_in_one_run(runs, database, monkeypatch):
    monkeypatch.setenv("GANLINE_PIPELINE_RUN", "abc")
    params = load_params(ROOT / "params.yaml")
    params = dataclasses.replace(params, tracking=QUIET)
    for stage, numbers in (("score", {}), ("evaluate", {"judge_all": 0.5})):
        pipeline = open_whole_run(params, print)
        tracker = open_stage_tracker(
            QUIET, stage=stage, fingerprint="1", config={}, tags={}, say=print, above=pipeline
        )
        tracker.close()
        pipeline.log_metrics(numbers)
        pipeline.close()
    found = the_runs(database)
    (row,) = (run for run in found if run.data.tags.get("stage") == "pipeline")
    nested = [r for r in found if r.data.tags.get("mlflow.parentRunId") == row.info.run_id]
    assert len(nested) == 2 and len(found) == 3
    assert row.info.status == "FINISHED" and row.data.metrics == {"judge_all": 0.5}
    assert row.info.run_name.startswith("shapes 64 px, StyleGAN-T, ")
    assert "Its stages are nested below" in row.data.tags["mlflow.note.content"]
    notes = {r.info.run_name: r.data.tags["mlflow.note.content"] for r in nested}
    assert "how good" in notes["evaluate-1"].lower() and "Next: `filter`" in notes["score-1"]
    experiment = database.get_experiment_by_name("ganline")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "One row is one run of the pipeline" in experiment.tags["mlflow.note.content"]
    database.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "my own words")
    MlflowDoor(QUIET, runs)
    assert database.get_experiment(experiment.experiment_id).tags["mlflow.note.content"] == (
        "my own words"
    )


def test_every_stage_has_a_description_of_its_runs():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {*stages, "pipeline", "trial"} == set(RUN_NOTES)
    assert run_note("superres@64") == RUN_NOTES["superres"]
    assert run_note("tune.trial-0a1b") == RUN_NOTES["trial"]
