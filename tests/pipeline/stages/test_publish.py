"""Publish: refuses by name and number, releases whole, registers once, moves aliases rightly."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from components.artifacts.publishing import PublishConfig, Threshold
from components.artifacts.release import load_release
from components.errors import DataError, StorageError
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.registry import requirements
from pipeline.tracking.tracker import open_stage_tracker
from tests.pipeline.trained_world import run_evaluate, run_publish, trained_world

LOCAL = PublishConfig(register=False, thresholds={"frechet_dino.after": Threshold(min=0.0)})
STRICT = {"frechet_dino.ratio": Threshold(max=0.001), "judge.all": Threshold(min=0.9)}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_world(tmp_path_factory.mktemp("publish"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANLINE_RUNS_DIR", str(folder / "runs"))
        run_evaluate(folder)
    return folder


@pytest.fixture
def world(evaluated: Path, monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return evaluated


def test_a_good_model_is_released(world: Path, tmp_path: Path) -> None:
    run_publish(world, LOCAL, out=tmp_path / "release")
    load_release(tmp_path / "release")
    report = json.loads((world / "reports" / "publish.json").read_text())
    assert report["published"] is True and report["missed"] == []
    assert report["registered"] is None
    threshold = report["thresholds"]["frechet_dino.after"]
    assert threshold["min"] == 0.0
    assert threshold["value"] > 0


def test_the_report_says_why_a_model_that_misses_nothing_is_no_champion(
    world: Path, tmp_path: Path
) -> None:
    run_publish(world, LOCAL, out=tmp_path / "release")
    report = json.loads((world / "reports" / "publish.json").read_text())
    why = "measured on 16 held-out images, publish.least_held_out is 50"
    assert report["published"] is True and report["no_champion"] == why
    run_publish(world, dataclasses.replace(LOCAL, least_held_out=16), out=tmp_path / "release")
    assert "no_champion" not in json.loads((world / "reports" / "publish.json").read_text())


def test_a_missed_threshold_is_refused_by_name_value_and_bound(world: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(LOCAL, thresholds=STRICT)
    with pytest.raises(DataError) as refused:
        run_publish(world, config, out=tmp_path / "release")
    ratio = json.loads((world / "reports/evaluation.json").read_text())["frechet_dino"]["ratio"]
    assert f"frechet_dino.ratio is {ratio:.4g}, wanted at most 0.001" in str(refused.value)
    assert "judge.all was not measured, wanted at least 0.9" in str(refused.value)
    assert refused.value.exit_code == 3
    assert not (tmp_path / "release").exists(), "ganline generate never draws with it"
    report = json.loads((world / "reports" / "publish.json").read_text())
    assert report["published"] is False and len(report["missed"]) == 2
    assert report["thresholds"]["frechet_dino.ratio"] == {"value": ratio, "max": 0.001}
    assert report["thresholds"]["judge.all"] == {"value": None, "min": 0.9}
    assert all(line in str(refused.value) for line in report["missed"])


def test_metrics_of_another_model_do_not_count(world: Path, tmp_path: Path) -> None:
    path = world / "artifacts" / "evaluation" / "metrics.json"
    original = path.read_text()
    metrics = json.loads(original)
    metrics["model"]["weights_sha256"] = "0" * 64
    try:
        path.write_text(json.dumps(metrics))
        with pytest.raises(DataError, match="metrics of another model"):
            run_publish(world, LOCAL, out=tmp_path / "release")
        path.unlink()
        with pytest.raises(DataError, match="run the evaluate stage"):
            run_publish(world, LOCAL, out=tmp_path / "release")
    finally:
        path.write_text(original)


def test_a_registry_that_does_not_answer_is_named(world: Path, tmp_path: Path) -> None:
    tracking = TrackingConfig(uri="http://127.0.0.1:9", request_timeout_s=1)
    with pytest.raises(StorageError, match="registry did not take ganline"):
        run_publish(world, dataclasses.replace(LOCAL, register=True), tracking=tracking)


def test_requirements_are_pinned() -> None:
    assert all("==" in line and "+" not in line for line in requirements())
    assert any(line.startswith("torch==") for line in requirements())


@pytest.mark.row("D6")
@pytest.mark.slow
def test_the_registry_holds_each_content_once_and_only_good_ones_lead(world, tmp_path) -> None:
    from mlflow import MlflowClient

    tracking = TrackingConfig(system_every_s=0.0, flush_timeout_s=60.0)
    few = PublishConfig(model_name="tiny", thresholds=LOCAL.thresholds)  # 16 images are held out
    good = dataclasses.replace(few, least_held_out=16)
    bad = dataclasses.replace(good, thresholds=STRICT)

    def publish(config: PublishConfig) -> None:
        tracker = open_stage_tracker(
            tracking, stage="publish", fingerprint="0" * 12, config={}, tags={}, say=print
        )
        try:
            run_publish(world, config, out=tmp_path / "release", tracking=tracking, tracker=tracker)
        finally:
            tracker.close()

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    with pytest.raises(DataError):
        publish(bad)
    assert client.get_registered_model("tiny").aliases == {"candidate": 1}
    publish(few)
    assert client.get_registered_model("tiny").aliases == {"candidate": 1}
    report = world / "reports" / "publish.json"
    assert "measured on 16 held-out images" in json.loads(report.read_text())["no_champion"]
    publish(good)
    publish(good)
    assert "no_champion" not in json.loads(report.read_text())
    assert client.get_registered_model("tiny").aliases == {"candidate": 1, "champion": 1}
    assert len(client.search_model_versions("name='tiny'")) == 1

    other = trained_world(tmp_path / "other", seed=5)
    run_evaluate(other)
    world = other
    with pytest.raises(DataError):
        publish(bad)
    assert client.get_registered_model("tiny").aliases == {"candidate": 2, "champion": 1}
    publish(good)
    assert client.get_registered_model("tiny").aliases == {"candidate": 2, "champion": 2}
    version = client.get_model_version("tiny", "2")
    assert len(version.tags["content_hash"]) == 64


@pytest.mark.slow
def test_a_model_that_takes_nothing_is_registered_without_a_complaint(
    tmp_path, monkeypatch, caplog
):
    """MLflow tries the example that it is given: a prompt would be refused."""
    from mlflow import MlflowClient

    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = trained_world(tmp_path / "nothing", text=False)
    run_evaluate(folder)
    tracking = TrackingConfig(system_every_s=0.0, flush_timeout_s=60.0)
    tracker = open_stage_tracker(
        tracking, stage="publish", fingerprint="0" * 12, config={}, tags={}, say=print
    )
    config = PublishConfig(model_name="nothing", least_held_out=16)
    run_publish(folder, config, tracking=tracking, tracker=tracker)
    tracker.close()
    assert "Failed to validate" not in caplog.text
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    model = client.get_registered_model("nothing")
    assert model.aliases["champion"] == 1 and "ganline generate --seed" in model.description
    assert "## How to use it" in client.get_model_version("nothing", "1").description
