"""MLflow up, down, slow and broken: the stage never waits, nothing is lost, nothing comes twice."""

import http.server
import json
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from components.errors import StorageError
from pipeline.commands.sync import sync
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.mlflow_door import FOLDER
from pipeline.tracking.spool import Spool, grouped, spool_for
from pipeline.tracking.tracker import RunIdentity, Tracker, open_stage_tracker

QUIET = TrackingConfig(system_every_s=0.0, request_timeout_s=1, flush_timeout_s=3.0)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory):
    """One fresh MLflow database; creating it takes seconds, copying it does not."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def database(runs, migrated_database):
    runs.mkdir()
    shutil.copy(migrated_database, runs / "mlflow.db")
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")


def open_run(config=QUIET, said=None, stage="train_base"):
    said = [] if said is None else said
    return open_stage_tracker(
        config,
        stage=stage,
        fingerprint="0123456789ab",
        config={"seed": 1, stage: {"batch": 8}},
        tags={"stage": stage, "resolution": "32"},
        say=said.append,
    )


def the_runs(client, experiment="ganline"):
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def history(client, run_id, name):
    return [(m.step, m.value) for m in client.get_metric_history(run_id, name)]


def images(client, run_id):
    return [f.path for f in client.list_artifacts(run_id, "images") if f.path.endswith(".png")]


@pytest.fixture(params=["refused", "hangs", "http 500"])
def broken_server(request):
    """A tracking server that is not there, accepts and never answers, or answers 500."""
    if request.param == "refused":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        return
    if request.param == "hangs":
        with socket.create_server(("127.0.0.1", 0), backlog=50) as deaf:
            yield f"http://127.0.0.1:{deaf.getsockname()[1]}"
        return

    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(500)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.row("D1")
def test_a_broken_server_costs_training_nothing_and_loses_nothing(runs, broken_server, monkeypatch):
    import mlflow  # noqa: F401  the import takes seconds and would hide what is measured

    monkeypatch.setenv("MLFLOW_TRACKING_URI", broken_server)
    said = []
    tracker = open_run(said=said)
    started = time.monotonic()
    for step in range(200):
        tracker.log_metrics({"loss/generator": step / 2}, step=step)
    tracker.log_image("samples", Image.new("RGB", (8, 8)), step=7)
    logged_s = time.monotonic() - started
    tracker.close()
    closed_s = time.monotonic() - started
    # Room for a busy machine: waiting for MLflow would take a second for each of the 200 lines.
    assert logged_s < 5, "training waited for MLflow"
    assert closed_s < QUIET.flush_timeout_s + 10
    assert any("ganline sync" in line for line in said)
    events = Spool(next((runs / "tracking").glob("*.jsonl"))).events()
    points = [(e["step"], e["values"]["loss/generator"]) for e in events if e["op"] == "metrics"]
    assert points == [(step, step / 2) for step in range(200)]
    with pytest.raises(StorageError, match="MLflow does not answer"):
        sync(QUIET, runs, said.append)


@pytest.mark.slow
def test_a_run_arrives_whole(runs, database):
    tracker = open_run()
    tracker.log_metrics({"loss/generator": 1.5, "images_per_s": 80}, step=1000)
    tracker.log_metrics({"loss/generator": 0.5}, step=2000)
    tracker.log_image("samples", Image.new("RGB", (8, 8)), step=2000)
    tracker.log_dataset("train", "ab" * 32, "data/train")
    tracker.set_tags({"fingerprint": "feed"})
    tracker.close()
    (run,) = the_runs(database)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train_base-01234567"
    assert run.data.tags["stage"] == "train_base"
    assert run.data.tags["fingerprint"] == "feed"
    assert run.data.params["train_base.batch"] == "8"
    assert history(database, run.info.run_id, "loss/generator") == [(1000, 1.5), (2000, 0.5)]
    assert len(images(database, run.info.run_id)) == 1
    assert [d.dataset.name for d in run.inputs.dataset_inputs] == ["train"]
    assert "config.yaml" in [f.path for f in database.list_artifacts(run.info.run_id)]
    assert sync(QUIET, runs, lambda text: None) == 0


@pytest.mark.slow
def test_the_same_command_after_a_kill_continues_the_run(runs, database):
    first = open_run()
    first.log_metrics({"loss": 1.0}, step=100)
    first.log_metrics({"loss": 2.0}, step=200)
    first.log_image("samples", Image.new("RGB", (8, 8)), step=200)
    first.close("KILLED")
    second = open_run()  # resumes from the state at step 100 and sees step 200 again
    second.log_metrics({"loss": 2.0}, step=200)
    second.log_image("samples", Image.new("RGB", (8, 8)), step=200)
    second.log_metrics({"loss": 3.0}, step=300)
    second.close()
    (run,) = the_runs(database)
    assert run.info.status == "FINISHED"
    assert history(database, run.info.run_id, "loss") == [(100, 1.0), (200, 2.0), (300, 3.0)]
    assert len(images(database, run.info.run_id)) == 1
    third = open_run()  # a finished run is not touched again
    third.close()
    assert len(the_runs(database)) == 2


@pytest.mark.row("D1")
@pytest.mark.slow
def test_sync_sends_what_an_outage_held_back_exactly_once(runs, database):
    offline = TrackingConfig(enabled=False, system_every_s=0.0)
    tracker = open_run(offline)
    for step in range(50):
        tracker.log_metrics({"loss": step / 4}, step=step)
    tracker.log_image("samples", Image.new("RGB", (8, 8)), step=49)
    tracker.close()
    assert not database.get_experiment_by_name("ganline")
    expected = [(step, step / 4) for step in range(50)]
    spool = Spool(next((runs / "tracking").glob("*.jsonl")))
    assert sync(QUIET, runs, lambda text: None) == len(spool.events())
    (run,) = the_runs(database)
    assert history(database, run.info.run_id, "loss") == expected
    assert not spool.files.exists()
    # A kill between sending and noting: everything is sent a second time.
    spool.position.unlink()
    spool.hold()
    image = next(e for e in spool.events() if e["op"] == "image")
    Path(image["file"]).parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(image["file"])
    spool.release()
    sync(QUIET, runs, lambda text: None)
    (again,) = the_runs(database)
    assert again.info.run_id == run.info.run_id
    assert history(database, run.info.run_id, "loss") == expected
    assert len(images(database, run.info.run_id)) == 1
    assert sync(QUIET, runs, lambda text: None) == 0


@pytest.mark.row("D2")
@pytest.mark.slow
def test_uploads_that_fail_alone_cost_nothing_and_are_sent_later_once(runs, database):
    """Metrics arrive and artifacts cannot: a place that is not writable, a full store."""
    (runs / FOLDER).write_text("no folder can be made below a file")
    said: list[str] = []
    tracker, started = open_run(said=said), time.monotonic()
    tracker.log_metrics({"loss": 1.0}, step=100)
    tracker.log_image("samples", Image.new("RGB", (8, 8)), step=100)
    tracker.log_metrics({"loss": 2.0}, step=200)
    assert time.monotonic() - started < 5, "training waited for an upload"
    tracker.close()
    warnings = [line for line in said if "warning: " in line]
    assert 0 < len(warnings) < 5 and all("ganline sync" in line for line in warnings)
    spool = Spool(next((runs / "tracking").glob("*.jsonl")))
    assert spool.files.exists()  # the picture waits
    with pytest.raises(StorageError):
        sync(QUIET, runs, said.append)
    (runs / FOLDER).unlink()
    assert sync(QUIET, runs, said.append) > 0
    (run,) = the_runs(database)
    assert history(database, run.info.run_id, "loss") == [(100, 1.0), (200, 2.0)]
    assert len(images(database, run.info.run_id)) == 1 and not spool.files.exists()
    assert run.info.status == "FINISHED" and sync(QUIET, runs, said.append) == 0


@pytest.mark.row("D1")
def test_two_processes_never_write_one_spool(tmp_path):
    first = spool_for(tmp_path, "score", "ab")
    second = spool_for(tmp_path, "score", "ab")
    assert [first.path.name, second.path.name] == ["score-ab-1.jsonl", "score-ab-2.jsonl"]


def test_a_line_cut_by_a_kill_is_left_out_and_the_next_is_whole(tmp_path):
    spool = spool_for(tmp_path, "score", "ab")
    spool.append({"op": "metrics", "values": {"a": 1.0}, "step": 0})
    spool.release()
    with spool.path.open("a") as file:
        file.write('{"seq": 1, "op": "met')
    assert spool.hold()
    spool.append({"op": "tags", "values": {}})
    assert [(e["seq"], e["op"]) for e in spool.events()] == [(0, "metrics"), (1, "tags")]


def test_metrics_travel_together_and_in_order():
    events = [{"op": op, "seq": i, "values": {"a": 1}} for i, op in enumerate(["run", "metrics"])]
    events += [{"op": "metrics", "seq": 2, "values": {str(i): i for i in range(899)}}]
    events += [{"op": "metrics", "seq": 3, "values": {"b": 1}}, {"op": "end", "seq": 4}]
    groups = [[event["seq"] for event in group] for group in grouped(events)]
    assert groups == [[0], [1, 2], [3], [4]]


def test_tracking_never_raises(runs, monkeypatch):
    said = []
    identity = RunIdentity("score", "ab", "ganline")
    tracker = Tracker(TrackingConfig(enabled=False), identity, {}, said.append)
    tracker.log_artifact(Path("/does/not/exist"))
    monkeypatch.setattr(Spool, "append", lambda *args: (_ for _ in ()).throw(OSError(28, "full")))
    tracker.log_metrics({"a": 1.0})
    tracker.close()
    assert len(said) == 3
    assert all(line.startswith("warning: tracking could not record") for line in said)


def test_a_silent_tracker_leaves_no_trace(runs):
    tracker = Tracker.silent()
    tracker.log_metrics({"a": 1.0})
    tracker.log_image("samples", Image.new("RGB", (8, 8)), step=1)
    tracker.trial("x", "x 1", {}, 1).close()
    tracker.close()
    assert tracker.run_id() is None
    assert not runs.exists()


def test_system_readings_have_units_and_are_numbers():
    from pipeline.tracking.system_metrics import read_system

    readings = read_system()
    assert json.loads(json.dumps(readings)) == readings
    assert all(name.endswith(("_percentage", "_gib")) for name in readings)
    assert 0 < readings["system/process_memory_gib"] < 64
