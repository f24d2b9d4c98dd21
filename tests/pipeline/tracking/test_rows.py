"""Rows that people read: a run per pipeline, trials beside their search, a folder that moved."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.params.sections import load_params
from pipeline.stages.whole_run import open_whole_run
from pipeline.tracking.mlflow_door import MlflowDoor
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
    search.close()
    (found,) = (r for r in the_runs(database, "ganline-search") if r.data.tags["stage"] == "trial")
    assert found.info.run_name == "clip_weight 1.2" and found.data.metrics == {"frechet": 3.0}
    assert found.info.end_time - found.info.start_time == 60_000
    assert "mlflow.parentRunId" not in found.data.tags  # a nested run is left out of the charts
    assert found.data.tags["search"] == search.identity["key"]


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
    experiment = database.get_experiment_by_name("ganline")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "One row is one run of the pipeline" in experiment.tags["mlflow.note.content"]
    database.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "my own words")
    MlflowDoor(QUIET, runs)
    assert database.get_experiment(experiment.experiment_id).tags["mlflow.note.content"] == (
        "my own words"
    )
