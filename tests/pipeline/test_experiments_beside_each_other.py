"""Experiments of DVC's queue and `--temp` at the same time: Ray and MLflow are shared by nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.pipeline import tiny_world
from tests.pipeline.command import checkout, environment

STAGE = {
    "cmd": "python -m pipeline.stages.train_base --data data/train --encoders artifacts/encoders "
    "--out artifacts/base --report reports/train_base.json --curve reports/train_base.csv",
    "deps": ["data/train", "artifacts/encoders"],
    "params": ["seed", "train_base"],
    "outs": ["artifacts/base"],
    "metrics": [{"reports/train_base.json": {"cache": False}}],
}
DVC = (sys.executable, "-m", "dvc")
PATIENCE_S = 1200


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words,
        cwd=folder,
        env=environment(GANLINE_RUNS_DIR=str(folder / "runs")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, *words: str) -> str:
    process = started(folder, *words)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    return said


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tiny_world.write_world(checkout(tmp_path / "project"))
    tracking = {"enabled": True, "system_every_s": 0.0}
    tiny_world.write_params(folder, train_base={"total_kimg": 0.128}, tracking=tracking)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train_base": STAGE}}))
    (folder / ".gitignore").write_text("runs/\n__pycache__/\n/artifacts/base\n")
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.email", "x@example.org")
    run(folder, "git", "config", "user.name", "x")
    run(folder, *DVC, "init", "-q")
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "-qm", "start")
    return folder


@pytest.mark.fuzz
@pytest.mark.timeout(2 * PATIENCE_S)
def test_two_of_the_queue_and_one_beside_them(project: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        run(project, *DVC, "exp", "run", "--queue", "-n", name, "-S", f"seed={seed}")
    beside = started(project, *DVC, "exp", "run", "--temp", "-n", "three", "-S", "seed=3")
    run(project, *DVC, "queue", "start", "-j", "2")
    said, _ = beside.communicate(timeout=PATIENCE_S)
    assert beside.returncode == 0, said
    for name in ("one", "two"):  # it prints the output, and returns when the task has ended
        log = run(project, *DVC, "queue", "logs", "-f", name)
        assert "error:" not in log, log
    done = set(run(project, *DVC, "exp", "list", "--name-only").split())
    assert {"one", "two", "three"} <= done
    folders = list((project / "runs").glob("train_base-*"))
    assert len(folders) == 3  # of the original project: none would survive in a copy
    client = MlflowClient(f"sqlite:///{project / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("ganline").experiment_id
    found = client.search_runs([experiment])
    stages = [one for one in found if one.data.tags["stage"] == "train_base"]
    assert sorted(one.data.params["seed"] for one in stages) == ["1", "2", "3"]
    assert {one.info.status for one in found} == {"FINISHED"}
    # A row of its own for each, though one worker of the queue may have run two.
    rows = [one for one in found if one.data.tags["stage"] == "pipeline"]
    above = {one.data.tags["mlflow.parentRunId"] for one in stages}
    assert above == {one.info.run_id for one in rows} and len(rows) == 3
