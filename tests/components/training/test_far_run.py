"""A run that is kept in a store: on machines that share nothing else, it has the bytes of one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from components.data import far_files
from components.data.at_hand import NODE
from components.data.far_files import place_of
from components.data.far_folders import send_folder
from components.data.far_objects import names_in, read_object, write_object
from components.errors import Interrupted, StorageError
from components.training.distributed import World
from components.training.far_run import FarRun, following, with_inputs
from components.training.job import TrainingJob
from components.training.run import run_job
from tests.components.data.object_store import spoilt_store, use_store
from tests.pipeline.tiny_world import RECIPE, TRAIN, write_world

STORE, RUN = "s3://bucket/ganline", "s3://bucket/ganline/runs/base-f"


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "buckets/bucket").mkdir(parents=True)
    monkeypatch.setattr(far_files, "FIRST_WAIT_S", 0.01)
    with spoilt_store(tmp_path / "buckets") as proxy:
        use_store(monkeypatch, proxy.port)
        yield proxy


def job(folder, **changes):
    paths = {"data_dir": str(folder / "data/train"), "encoders_dir": f"{folder}/artifacts/encoders"}
    plain = {"stage": "base", "seed": 3, "recipe": RECIPE, "train": TRAIN, "fingerprint": "f"}
    return TrainingJob(**{**plain, **paths, "run_dir": str(folder / "alone"), **changes})


def train(one, stop=None):
    return run_job(one, World(), lambda line: None, "cpu", stop)


def after(steps):
    """Return a stop that is asked for after so many steps."""
    left = iter(range(steps))
    return lambda: next(left, None) is None


def test_it_goes_on_from_the_store_with_the_bytes_of_a_run_on_disk(tmp_path, server, monkeypatch):
    world = write_world(tmp_path / "world")
    train(job(world))
    inputs = place_of(f"{STORE}/inputs")
    send_folder(world / "data/train", inputs, "train-1")
    send_folder(world / "artifacts/encoders", inputs, "encoders-1")
    (tmp_path / "world/data").rename(tmp_path / "hidden")  # nothing but the store is seen
    places = {"data_dir": f"{STORE}/inputs/train-1", "encoders_dir": f"{STORE}/inputs/encoders-1"}
    far = job(tmp_path, kept_in=RUN, run_dir=str(tmp_path / "nowhere"), **places)
    monkeypatch.setenv(NODE, str(tmp_path / "one"))
    kill_after_a_state(far, tmp_path)
    shutil.rmtree(tmp_path / "one")
    monkeypatch.setenv(NODE, str(tmp_path / "two"))
    with pytest.raises(Interrupted, match="at nimg"):
        train(far, after(3))
    shutil.rmtree(tmp_path / "two")
    monkeypatch.setenv(NODE, str(tmp_path / "three"))
    server.spoil = lambda method, path, number: "fail" if not number else ""
    assert train(far)["resumed_from_nimg"] > 0
    assert not (tmp_path / "nowhere").exists()

    command = FarRun(RUN, tmp_path / "command")
    assert command.take_artifact()
    for name in ("artifact/generator.safetensors", "artifact/samples.png"):
        assert (tmp_path / "command" / name).read_bytes() == (world / "alone" / name).read_bytes()
    assert ticks(tmp_path / "command") == ticks(world / "alone")
    sheets = [path.name for path in sorted((world / "alone/samples").iterdir())]
    assert [path.name for path in sorted((tmp_path / "command/samples").iterdir())] == sheets
    states = [name for name in names_in(place_of(RUN)) if name.startswith("nimg-")]
    assert states == ["nimg-000000000192.json", "nimg-000000000256.json"]
    assert train(far)["cached"]


def kill_after_a_state(far, folder):
    """Train in a process of its own, and kill it when its first state is in the store."""
    (folder / "job.json").write_text(json.dumps(asdict(far)))
    words = [sys.executable, "-m", "components.training", str(folder / "job.json")]
    process = subprocess.Popen([*words, "--device", "cpu"], stdout=subprocess.DEVNULL)
    there = folder / "buckets/bucket/ganline/runs/base-f"
    try:
        while not list(there.glob("nimg-*.json")):
            assert process.poll() is None, "it ended before a state was sent"
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL and not (there / "artifact.json").exists()


def ticks(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["nimg"] for line in lines if line["kind"] == "tick"]


def test_a_stop_reaches_the_worker_through_the_store(tmp_path):
    address = f"file://{tmp_path}/store/runs/base-f"
    worker = FarRun(address, tmp_path / "worker")
    worker.bring()
    write_object(place_of(address) / "stop", b"")  # of a command that died
    with following(job(tmp_path, kept_in=address, run_dir=str(tmp_path / "command")), print):
        worker.take_stop()
        assert not (tmp_path / "worker/stop").exists()
    (tmp_path / "command").mkdir(exist_ok=True)
    (tmp_path / "command/stop").touch()
    command = FarRun(address, tmp_path / "command")
    command.pass_on_stop()
    worker.take_stop()
    assert (tmp_path / "worker/stop").exists()
    worker.bring()  # the next start
    assert not (tmp_path / "worker/stop").exists()


def test_only_what_changed_travels_and_the_way_of_a_run_goes_with_it(tmp_path, server):
    worker = FarRun(RUN, tmp_path / "worker")
    worker.bring()
    (tmp_path / "worker/samples").mkdir()
    for name in ("metrics.jsonl", "detours.json", "samples/000000016.png", "other.txt"):
        (tmp_path / "worker" / name).write_text(name)
    worker.send()
    server.asked.clear()
    worker.send()
    assert not server.asked
    (tmp_path / "worker/detours.json").write_text("[{}]")
    worker.send()
    assert [one[:2] for one in server.asked if one[0] == "PUT"] == [
        ("PUT", "/bucket/ganline/runs/base-f/detours.json")
    ]
    command = FarRun(RUN, tmp_path / "command")
    command.folder.mkdir()
    command.pull()
    assert (tmp_path / "command/samples/000000016.png").read_text() == "samples/000000016.png"
    assert (tmp_path / "command/detours.json").read_text() == "[{}]"
    assert not (tmp_path / "command/other.txt").exists()
    other = FarRun(RUN, tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/micro_batch.json").write_text("of another time")
    other.bring()
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [
        "detours.json",
        "metrics.jsonl",
    ]
    assert read_object(place_of(RUN) / "metrics.jsonl") == b"metrics.jsonl"


def test_inputs_that_do_not_come_are_one_error(tmp_path, server, monkeypatch):
    monkeypatch.setenv(NODE, str(tmp_path / "node"))
    with pytest.raises(StorageError, match="no such file in the store"):
        with_inputs(job(tmp_path, data_dir=f"{STORE}/inputs/none"), World())
