"""Fast parts of launching: errors, signals, shared inputs, progress, fingerprints, recipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from components import errors
from components.artifacts.frozen_nets import encoder_hashes
from components.errors import ConfigError, GanlineError, StorageError
from components.training.config import StageConfig
from pipeline.cluster import inputs, launch
from pipeline.cluster.config import ClusterConfig, ray_environment
from pipeline.cluster.failures import failure_from_dict, failure_to_dict
from pipeline.cluster.guardian import Guardian
from pipeline.cluster.row_batches import BatchActor, unpack, windows
from pipeline.cluster.soft_stop import stop_requested, stopping_softly
from pipeline.fingerprint import data_content_hash, training_fingerprint
from pipeline.progress import Progress, line_of, read_ticks
from pipeline.stages.train import resolve_recipe, stage_name
from tests.pipeline import tiny_world


@pytest.mark.parametrize("name", [n for n in vars(errors) if n.endswith("Error")] + ["Interrupted"])
def test_an_error_keeps_class_text_and_exit_code_as_json(name):
    error = getattr(errors, name)("what: 3", "where", "do this")
    copy = failure_from_dict(json.loads(json.dumps(failure_to_dict(error))))
    assert (type(copy), str(copy), copy.exit_code) == (type(error), str(error), error.exit_code)


def test_an_error_of_a_newer_version_ends_with_one():
    newer = {"error": "NoSuchError", "what": "w", "where": "x", "todo": "t"}
    assert failure_from_dict(newer).exit_code == GanlineError.exit_code == 1


# Signals and processes


def test_sigterm_becomes_the_stop_file_and_the_old_handler_comes_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with stopping_softly(tmp_path, lambda text: None):
        assert not stop_requested(tmp_path)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_requested(tmp_path)
    assert not stop_requested(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_file_of_a_dead_command_does_not_stop_the_next(tmp_path):
    (tmp_path / "stop").touch()
    with stopping_softly(tmp_path, lambda text: None):
        assert not stop_requested(tmp_path)


def test_a_guardian_is_alive_until_its_process_ends():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    guardian = Guardian(pid=process.pid, started=started)
    assert guardian.alive()
    assert not Guardian(pid=process.pid, started=started - 60).alive()  # Its id, used again.
    process.kill()
    time.sleep(0.2)  # A zombie now: its parent has not asked for it.
    assert not guardian.alive()
    process.communicate()
    assert not guardian.alive()


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_worker_ends_when_its_command_does():
    worker = (
        "import time; from pipeline.cluster.guardian import *; end_with_command();"
        "print('up', flush=True); time.sleep(60)"
    )
    command = (
        "import subprocess, sys, time; from pipeline.cluster.guardian import *;"
        "Guardian.of_this_process().announce();"
        "print(subprocess.Popen([sys.executable, '-c', sys.argv[1]]).pid, flush=True);"
        "time.sleep(60)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", command, worker], stdout=subprocess.PIPE, text=True
    )
    orphan = psutil.Process(int(driver.stdout.readline()))
    assert driver.stdout.readline() == "up\n"
    driver.kill()
    driver.communicate(timeout=30)  # Ends only when the worker, too, has closed its stdout.
    # A process closes its files before it is gone: give it a moment, far less than its 60 s.
    limit = time.monotonic() + 20
    while not _ended(orphan):
        assert time.monotonic() < limit, "the worker outlives its command"
        time.sleep(0.05)


# Addresses and shared inputs


def test_the_ray_client_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="http://head:8265"):
        launch.ray_address()


def test_inputs_stay_where_they_are_on_one_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert inputs.share_input(Path("data/train"), "abc") == str(tmp_path / "data" / "train")


def test_inputs_go_to_the_shared_folder_once_per_content(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    source = tmp_path / "train"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.bin").write_bytes(b"12345")
    first = Path(inputs.share_input(source, "0123456789abcdef"))
    assert first == tmp_path / "runs/inputs/train-0123456789ab"
    assert (first / "deep" / "a.bin").read_bytes() == b"12345"
    stamp = first.stat().st_mtime_ns
    assert inputs.share_input(source, "0123456789abcdef") == str(first)
    assert first.stat().st_mtime_ns == stamp
    assert inputs.share_input(source, "fedcba9876543210") != str(first)
    assert not list(first.parent.glob("*.tmp"))


def test_a_users_own_switch_wins_over_ours(monkeypatch):
    local, remote = ray_environment("", ClusterConfig()), ray_environment("auto", ClusterConfig())
    assert local["RAY_AUTH_MODE"] == "disabled" and "RAY_AUTH_MODE" not in remote
    assert local["RAY_USAGE_STATS_ENABLED"] == remote["RAY_USAGE_STATS_ENABLED"] == "0"


# Rows


def test_packed_batches_are_the_batches_of_a_local_loop():
    items = [{"key": str(i), "value": (None, i, i / 3)[1 + i % 2]} for i in range(11)]
    local = [row for i in range(0, 11, 4) for row in tiny_world.Sizer(3)(items[i : i + 4])]
    actor = BatchActor(tiny_world.Sizer, {"factor": 3})
    one, two = windows(iter(items), 4, window=2)  # Two batches, then the last.
    records = []
    for record in reversed(one + two):  # Ray gives them back in any order.
        out = actor({"index": [record["index"]], "items": [record["items"]]})
        records.append({"index": out["index"][0], "rows": out["rows"][0]})
    found = dict(map(unpack, records))
    assert [row for number in sorted(found) for row in found[number]] == local


# Progress


def tick(nimg, **more):
    base = {"kind": "tick", "nimg": nimg, "kimg": nimg / 1000, "goal_kimg": 1.0, "eta_s": 3.0}
    speed = {"seconds_per_kimg": 4.0, "images_per_s": 250.0, "memory_gib": 1.0, "seconds": 2.0}
    return base | speed | {"stat/discriminator/real_sign": 0.25} | more


class Memory:
    def __init__(self):
        self.points, self.images = [], []

    def log_metrics(self, values, step):
        self.points.append((step, values))

    def log_image(self, key, image, step):
        self.images.append((key, image.size, step))


def test_progress_tells_each_tick_once_though_the_run_is_resumed(tmp_path):
    from PIL import Image

    memory, lines = Memory(), []
    path = tmp_path / "metrics.jsonl"
    progress = Progress(tmp_path, memory, lines.append, "base")
    progress.catch_up()
    text = [json.dumps(t) + "\n" for t in (tick(100), {"kind": "saved", "nimg": 100}, tick(200))]
    path.write_text("".join(text) + '{"kind": "tick", "nimg": 300, "ki')  # Killed while writing.
    progress.catch_up()
    path.write_text("".join([text[0], json.dumps(tick(200)) + "\n", json.dumps(tick(300)) + "\n"]))
    (tmp_path / "samples").mkdir()
    Image.new("RGB", (8, 4)).save(tmp_path / "samples" / "000000200.png")
    (tmp_path / "samples" / "000000300.png").write_bytes(b"\x89PNG half")
    progress.catch_up()
    assert [step for step, _ in memory.points] == [100, 200, 300]
    assert memory.images == [("samples", (8, 4), 200)]
    assert len(lines) == 4 and "250 images/s" in lines[0]
    assert lines[-1] == f"base  sample sheet {tmp_path / 'samples' / '000000200.png'}"
    assert [t["nimg"] for t in read_ticks(tmp_path)] == [100, 200, 300]


def test_the_line_says_how_far_how_fast_how_long_and_what_d_thinks():
    line = line_of(tick(500, eta_s=7200.0))
    for part in ("0.5/1 kimg", "4.0 s/kimg", "250 images/s", "2.0 h left", "1.0 GiB", "sign +0.25"):
        assert part in line


# Fingerprints and recipes

STAGE = {"revision": 1, "start": "base", "recipe": {}, "batch": 8, "keep_states": 2}
INPUTS = {
    "seed": 0,
    "stage": STAGE,
    "recipe": {"name": "x", "policy": ("a", "b")},
    "data_hash": "d",
    "encoder_hashes": {"clip": "c"},
    "start_hash": "",
}


@pytest.mark.row("A10")
@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"recipe": {"name": "x", "policy": ("b", "a")}},
        {"data_hash": "e"},
        {"encoder_hashes": {"clip": "e"}},
        {"start_hash": "s"},
        {"stage": STAGE | {"revision": 2}},
        {"stage": STAGE | {"batch": 4}},
    ],
)
def test_what_is_trained_on_changes_the_fingerprint(change):
    assert training_fingerprint(**INPUTS) != training_fingerprint(**(INPUTS | change))


def test_what_is_only_watched_does_not_change_the_fingerprint():
    quiet = {"keep_states": 9, "report_every_kimg": 3, "start": "renamed"}
    quiet |= {"measure_every_kimg": 4.0, "measure_role": "clip", "keep_weights": "last"}
    as_json = {"recipe": json.loads(json.dumps(INPUTS["recipe"]))}
    same = training_fingerprint(**(INPUTS | as_json | {"stage": STAGE | quiet}))
    assert training_fingerprint(**INPUTS) == same


def test_how_the_best_weights_are_found_changes_the_fingerprint():
    kept = STAGE | {"keep_weights": "best", "measure_every_kimg": 4.0}
    others = ({"measure_every_kimg": 2.0}, {"measure_role": "clip"}, {"measure_images": 9})
    found = [training_fingerprint(**(INPUTS | {"stage": kept | x})) for x in ({}, *others)]
    assert len({*found, training_fingerprint(**INPUTS)}) == 5


def stage(recipe):
    sizes = {"resolution_px": 32, "total_kimg": 1.0, "batch": 8, "micro_batch": 8}
    return StageConfig(**sizes, ema_half_life_kimg=1.0, recipe=recipe)


def test_guidance_lies_over_params_over_the_start(tmp_path):
    guidance = tmp_path / "guidance.json"
    guidance.write_text('{"fields": {"clip_weight": 7.5}, "score": 1}')
    card = {"recipe": {"name": "stylegan_t", "fields": {"z_dim": 9, "clip_weight": 2.0}}}
    grown = resolve_recipe(stage({"clip_weight": 3.0}), None, card)
    assert (grown["z_dim"], grown["clip_weight"]) == (9, 3.0)
    base = resolve_recipe(stage({"name": "stylegan_t", "clip_weight": 3.0}), guidance, None)
    assert base["clip_weight"] == 7.5


def test_missing_inputs_name_the_stage_to_run(tmp_path):
    with pytest.raises(errors.DataError, match="run the filter stage"):
        data_content_hash(tmp_path)
    with pytest.raises(StorageError, match="run the encoders stage"):
        encoder_hashes(tmp_path, ["clip"])
    with pytest.raises(StorageError, match="run the tune stage"):
        resolve_recipe(stage({"name": "stylegan_t"}), tmp_path / "guidance.json", None)


def test_the_stage_is_named_as_in_dvc_yaml():
    assert stage_name("superres", ["64", "--data", "x"]) == "superres@64"
    assert stage_name("train_base", ["--data", "x"]) == "train_base"


def test_an_unknown_resolution_is_a_config_error():
    from pipeline.stages.train import stage_config

    context = SimpleNamespace(
        arguments=SimpleNamespace(stage="superres", key="96"),
        params=SimpleNamespace(superres={"64": None}),
    )
    with pytest.raises(ConfigError, match="64"):
        stage_config(context)
