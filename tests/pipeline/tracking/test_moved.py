"""After a move of the project, MLflow finds old artifacts, and new ones go to the new place."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.commands.sync import sync
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.mlflow_door import MlflowDoor
from pipeline.tracking.moved import mend
from pipeline.tracking.spool import Spool


def database(path: Path, runs: str) -> None:
    """Write the tables of MLflow that name places, as far as they do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE experiments (name TEXT, artifact_location TEXT)")
        connection.execute("CREATE TABLE runs (artifact_uri TEXT)")
        connection.execute("CREATE TABLE model_versions (source TEXT, storage_location TEXT)")
        places = [("ganline", f"{runs}/mlflow/ganline"), ("mine", "s3://bucket/mine")]
        connection.executemany("INSERT INTO experiments VALUES (?, ?)", places)
        uris = [(f"{runs}/mlflow/ganline/1/artifacts",), (f"{runs}x/1",), ("s3://bucket/1",)]
        connection.executemany("INSERT INTO runs VALUES (?)", uris)
        version = ("models:/m-1", f"{runs}/mlflow/ganline/models/m-1")
        connection.execute("INSERT INTO model_versions VALUES (?, ?)", version)


def places(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        found += connection.execute("SELECT artifact_uri FROM runs").fetchall()
        found += connection.execute("SELECT * FROM model_versions").fetchall()
    return [place for row in found for place in row]


@pytest.mark.row("G21")
def test_places_below_the_old_folder_follow_and_no_others(tmp_path: Path) -> None:
    runs = tmp_path / "new place" / "runs"
    database(runs / "mlflow.db", "file:///old/runs")
    assert mend(runs / "mlflow.db", runs) == ["file:///old/runs"]
    now = runs.as_uri()
    assert places(runs / "mlflow.db") == [
        f"{now}/mlflow/ganline",
        "s3://bucket/mine",
        f"{now}/mlflow/ganline/1/artifacts",
        "file:///old/runsx/1",
        "s3://bucket/1",
        "models:/m-1",
        f"{now}/mlflow/ganline/models/m-1",
    ]
    assert mend(runs / "mlflow.db", runs) == []
    assert mend(tmp_path / "none.db", runs) == []


@pytest.mark.row("G21")
def test_a_copy_that_waits_is_found_beside_the_moved_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "x.jsonl")
    assert spool.hold()
    (tmp_path / "file.txt").write_text("content")
    spool.append({"op": "artifact", "file": spool.keep_copy(tmp_path / "file.txt"), "folder": ""})
    spool.release()
    (tmp_path / "a").rename(tmp_path / "b")
    (event,) = Spool(tmp_path / "b" / "x.jsonl").events()
    assert Path(event["file"]).read_text() == "content"


@pytest.mark.slow
@pytest.mark.row("G21")
def test_mlflow_itself_finds_old_artifacts_and_takes_new_ones(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # other tests' MLflow may set it
    (tmp_path / "file.txt").write_text("content")
    config = TrackingConfig()
    for place in ("a", "b"):
        if place == "b":
            (tmp_path / "a").rename(tmp_path / "b")
        runs = tmp_path / place / "runs"
        door = MlflowDoor(config, runs)
        start = {"op": "run", "key": place, "experiment": config.experiment, "parent_key": ""}
        start |= {"tags": {"ganline.key": place}, "name": place, "time_ms": 1, "seq": 0}
        run = door.send(None, [start], in_doubt=False)
        file = {"op": "artifact", "file": str(tmp_path / "file.txt"), "folder": "", "seq": 1}
        door.send(run, [file], in_doubt=False)
    assert "the runs folder was moved from" in capsys.readouterr().err
    for key in ("a", "b"):
        found = door.client.list_artifacts(door.find_run(key))
        assert [item.path for item in found] == ["file.txt"]
    assert not (tmp_path / "a").exists()
    assert sync(config, runs, lambda line: None) == 0
