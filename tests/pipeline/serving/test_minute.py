"""Fifty clients for a minute, on `ganline serve` and on Ray Serve, while the champion moves.

Slow (make test-slow): the minute is shorter by GANLINE_FUZZ, a share.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.sampling import generate
from models.inference import fast_form
from pipeline.commands import serve
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.mlflow_door import open_door
from tests.pipeline.serving.test_server import PROMPT, RELEASE, ROOT, pixels, post
from tests.pipeline.tracking.test_served_model import _free_port
from tests.pipeline.trained_world import trained_world

CLIENTS, SEEDS = 50, 40
MINUTE_S = max(10.0, 60.0 * float(os.environ.get("GANLINE_FUZZ", "1")))
PATIENCE_S = 300
NAME = "served"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Return a project's folder whose store has two versions of a model, and their folders."""
    folder = tmp_path_factory.mktemp("project")
    world = trained_world(folder / "world")
    Image.new("RGB", (8, 8)).save(folder / "samples.png")
    write_release(
        folder / "tiny",
        artifact=world / "artifacts" / "base",
        encoders=world / "artifacts" / "encoders",
        metrics={},
        samples=folder / "samples.png",
        config=PublishConfig(),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = open_door(TrackingConfig(), folder / "runs").client
        client.create_registered_model(NAME)
        run = client.create_run(client.create_experiment("x")).info
        for number, release in enumerate((RELEASE, folder / "tiny"), 1):
            client.log_artifacts(run.run_id, str(release), f"v{number}")
            client.create_model_version(NAME, f"{run.artifact_uri}/v{number}", run.run_id)
        client.set_registered_model_alias(NAME, "champion", "1")
    return folder, [RELEASE, folder / "tiny"]


@pytest.fixture
def server(registry, request: pytest.FixtureRequest):
    """Start the server of the parameter; give its process and address."""
    folder, _ = registry
    port = _free_port()
    words = ["serve", f"models:/{NAME}@champion", "--port", str(port), *request.param]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["GANLINE_RUNS_DIR"] = str(folder / "runs")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert f"127.0.0.1:{port}" in process.stdout.readline()
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.communicate()


def move_champion(folder: Path, version: str) -> None:
    client = open_door(TrackingConfig(), folder / "runs").client
    client.set_registered_model_alias(NAME, "champion", version)


def expected(release: Path) -> np.ndarray:
    model, _ = load_release(release)
    fast_form(model.generator, precision="float32", compiled=False)
    return generate(model, [PROMPT] * SEEDS, list(range(SEEDS))).astype(int)


@pytest.mark.fuzz
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "server", [(), ("--ray", "--replicas", "2")], ids=["one process", "ray"], indirect=True
)
def test_fifty_clients_for_a_minute_while_the_champion_moves(registry, server) -> None:
    folder, releases = registry
    process, address = server
    wanted = [expected(release) for release in releases]
    counts: Counter[str] = Counter()
    last: dict[int, str] = {}
    stop, lock = threading.Event(), threading.Lock()

    def client(number: int) -> None:
        seed = number
        while not stop.is_set():
            seed = (seed + 7) % SEEDS
            try:
                status, png = post(address, prompt=PROMPT, seed=seed)
            except OSError as error:
                status, png = 0, str(error)
            what = f"status {status} {png if status != 200 else ''}"
            if status == 200:
                found = pixels(png)
                same = [
                    found.shape == images[seed].shape and np.abs(found - images[seed]).max() <= 1
                    for images in wanted
                ]
                what = f"version {same.index(True) + 1}" if any(same) else "another picture"
            with lock:
                counts[what] += 1
                last[number] = what

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(MINUTE_S / 2)
    move_champion(folder, "2")
    moved = time.monotonic()
    while time.monotonic() < max(started + MINUTE_S, moved + 3 * serve.FOLLOW_S + 10):
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    seconds = time.monotonic() - started
    move_champion(folder, "1")
    print(f"\n{CLIENTS} clients, {seconds:.0f} s: {dict(counts)}, {counts.total() / seconds:.1f}/s")
    assert set(counts) == {"version 1", "version 2"}
    assert set(last.values()) == {"version 2"} and len(last) == CLIENTS
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and "stopped" in said


@pytest.mark.fuzz
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", [("--ray", "--timeout", "20")], ids=["ray"], indirect=True)
def test_ray_serve_is_the_same_server(registry, server) -> None:
    """The API, its refusals, a full queue, a killed replica; nothing outlives the command."""
    process, address = server
    status, answer = post(address, prompt=PROMPT, sedes=3)
    assert status == 400 and "unknown key 'sedes'" in answer["error"]
    status, answer = post(address, "v1/images?seed=3", prompt=PROMPT)
    assert status == 400 and "unknown parameter 'seed'" in answer["error"]
    status, content = post(address, prompt=PROMPT, n=3, truncation=0.7)
    assert status == 200 and len(json.loads(content)["images"]) == 3
    # 120 requests of 16 images for two queues of 256: some are refused, and none waits for long.
    answers: list[tuple[int, float]] = []

    def ask(seed: int) -> None:
        started = time.monotonic()
        status, _ = post(address, prompt=PROMPT, seed=seed, n=16)
        answers.append((status, time.monotonic() - started))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(120)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert {status for status, _ in answers} == {200, 503} and len(answers) == 120
    assert max(seconds for _, seconds in answers) < 20 + 10  # --timeout, and the way back
    replicas = [one for one in psutil.process_iter() if is_replica(one, process.pid)]
    assert len(replicas) == serve.REPLICAS
    replicas[0].kill()
    limit = time.monotonic() + PATIENCE_S
    while True:
        try:
            answered = [post(address, prompt=PROMPT, seed=seed)[0] for seed in range(8)]
            now = [one for one in psutil.process_iter() if is_replica(one, process.pid)]
            if set(answered) == {200} and len(now) == serve.REPLICAS:
                break
        except OSError:
            pass
        assert time.monotonic() < limit
        time.sleep(1)
    process.kill()
    process.wait()
    for one in now:
        one.wait(60)


def is_replica(one: psutil.Process, command: int) -> bool:
    """Whether a process is a replica of the Ray that a command owns."""
    try:
        if "ServeReplica" not in " ".join(one.cmdline()):
            return False
        return one.environ().get("GANLINE_COMMAND", "").startswith(f"{command}:")
    except psutil.Error:
        return False


def test_the_number_of_replicas_is_checked_first(capfd) -> None:
    assert serve.main(["--replicas", "2"]) == 2
    assert "got 2 (--replicas): give 1 to 256 together with --ray" in capfd.readouterr().err
    assert serve.main(["--ray", "--replicas", "0"]) == 2
