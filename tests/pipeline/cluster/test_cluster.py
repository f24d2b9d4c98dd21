"""Two Ray nodes on one machine: training across them, as a driver and as a submitted job."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.pipeline import tiny_world
from tests.pipeline.command import PATIENCE_S, checkout, environment, run, train_words

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class TwoNodes:
    """A running cluster: where its head listens, for Ray and for jobs."""

    address: str
    dashboard: str


def free_port() -> int:
    """Return a port that nobody has, outside the range that Ray's workers take theirs from."""
    while True:
        port = random.SystemRandom().randint(22000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def ray_start(*words: str, temporary: str, hidden: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a node. Each has a folder of its own, as on a machine of its own: two that share one
    would remove the unpacked code from under each other's jobs. Its path must be short: sockets.
    In the place of a `hidden` folder it sees an empty one.
    """
    # Agents of two nodes, and of another Ray on this machine, would all want the same port.
    words = (*words, f"--temp-dir={temporary}", f"--dashboard-agent-listen-port={free_port()}")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    if hidden:
        cover = 'mount -t tmpfs none "$0" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", cover, str(hidden), *command]
    quiet = environment(RAY_USAGE_STATS_ENABLED="0", RAY_memory_monitor_refresh_ms="0")
    quiet["GANLINE_NODE_DIR"] = f"{temporary}/node"
    return subprocess.Popen(
        [*command, *words],
        env=quiet | {"RAY_worker_niceness": "0"},
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    # A raylet on a machine that is busy with other things may give up while it starts: once more.
    for attempt in range(3):
        places = [tempfile.mkdtemp(prefix="ray", dir="/tmp") for _ in range(2)]
        nodes: list[subprocess.Popen[bytes]] = []
        try:
            two = bring_up(places, nodes)
        except NodeDied:
            take_down(places, nodes)
            assert attempt < 2, "a Ray node died three times while starting"
            continue
        try:
            yield two
        finally:
            take_down(places, nodes)
        return


class NodeDied(Exception):
    """A node ended before the cluster was complete."""


def bring_up(
    places: list[str], nodes: list[subprocess.Popen[bytes]], hidden: Path | None = None
) -> TwoNodes:
    """Start a head and a second node, kept in `nodes`; return when both are alive."""
    port, dashboard, client = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{dashboard}"
    ports = [f"--port={port}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"]
    head = ["--head", *ports, f"--ray-client-server-port={client}"]
    nodes.append(ray_start(*head, temporary=places[0], hidden=hidden))
    wait_until(lambda: fetch(f"{url}/api/version"), nodes)
    second = [f"--address=127.0.0.1:{port}"]
    nodes.append(ray_start(*second, temporary=places[1], hidden=hidden))
    wait_until(lambda: alive_nodes(url) == 2, nodes)
    return TwoNodes(f"127.0.0.1:{port}", url)


def take_down(places: list[str], nodes: list[subprocess.Popen[bytes]]) -> None:
    """Kill the nodes: one that is asked to end first drains itself, for half a minute."""
    family: list[psutil.Process] = []
    for node in nodes:  # a node may end by itself at any line here: its head is gone
        with contextlib.suppress(psutil.NoSuchProcess):
            family += psutil.Process(node.pid).children(recursive=True)
    for process in [*nodes, *family]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for node in nodes:
        node.wait(60)
    psutil.wait_procs(family, timeout=30)
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


def fetch(url: str) -> dict | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())
    except (OSError, ValueError):
        return None


def alive_nodes(url: str) -> int:
    answer = fetch(f"{url}/api/v0/nodes?detail=false") or {}
    rows = (answer.get("data") or {}).get("result", {}).get("result", [])
    return sum(row["state"] == "ALIVE" for row in rows)


def wait_until(condition, nodes: list[subprocess.Popen[bytes]]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        if any(node.poll() is not None for node in nodes):
            raise NodeDied
        assert time.monotonic() < limit, "the cluster did not come up"
        time.sleep(0.3)


def world_in(folder: Path, **sections) -> Path:
    """Write a clone of the project with data, and params for one worker on each node."""
    tiny_world.write_world(checkout(folder))
    spread = {"num_workers": 2, "placement": "STRICT_SPREAD"} | sections.pop("cluster", {})
    tiny_world.write_params(folder, cluster=spread, **sections)
    return folder


def tensors(world: Path):
    from safetensors.torch import load_file

    return load_file(world / "artifacts/base/generator.safetensors")


@pytest.mark.row("A15")
def test_training_across_two_nodes_as_driver_and_as_job(cluster, tmp_path):
    import torch

    weights = []
    for name, address in (("driver", cluster.address), ("job", cluster.dashboard)):
        (tmp_path / name).mkdir()
        world = world_in(tmp_path / name)
        code, log = run(world, *train_words("--report", "base.json"), RAY_ADDRESS=address)
        assert code == 0, log
        report = json.loads((world / "base.json").read_text())
        record = json.loads((world / "runs/stages/train_base.json").read_text())
        assert (record["facts"]["world_size"], report["nimg"]) == (2, 256)
        assert "kimg" in log  # Followed live, through the shared folder.
        assert len(list((world / "runs" / "inputs").iterdir())) == 2  # Data and encoders.
        weights.append(tensors(world))
    # The same atoms on the same two ranks: bit-equal, whoever started them.
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_jobs_error_comes_back_with_its_exit_code(cluster, tmp_path):
    broken = {"recipe": {"clip_weight": 1.0e38}, "max_nonfinite_skips": 0}
    world = world_in(tmp_path, train_base=broken)
    code, log = run(world, *train_words(), RAY_ADDRESS=cluster.dashboard)
    assert code == 4, log
    assert "error: NaN or infinity" in log.splitlines()[-1]
    assert not (world / "artifacts/base").exists()


def test_an_address_where_nobody_answers_is_said_at_once(tmp_path):
    world = world_in(tmp_path)
    code, log = run(world, *train_words(), RAY_ADDRESS="http://127.0.0.1:1")
    assert code == 6 and "RAY_ADDRESS=http://127.0.0.1:1" in log.splitlines()[-1]


def test_map_batches_gives_the_rows_of_a_local_loop():
    from pipeline.cluster.config import ClusterConfig
    from pipeline.cluster.ray_door import map_batches

    items = [{"key": str(i), "value": (None, i, i / 3)[i % 3]} for i in range(11)]
    worker = tiny_world.Sizer(3)
    local = [row for i in range(0, 11, 4) for row in worker(items[i : i + 4])]
    config = ClusterConfig(cpus_per_worker=1.0)
    found = dict(map_batches(items, tiny_world.Sizer, {"factor": 3}, 4, config))
    assert [row for number in sorted(found) for row in found[number]] == local


def test_rows_that_end_every_actor_are_an_error_and_not_tried_for_ever():
    from components.errors import ResourceError
    from pipeline.cluster.config import ClusterConfig
    from pipeline.cluster.ray_door import map_batches

    items = [{"key": str(i)} for i in range(4)]
    config = ClusterConfig(cpus_per_worker=1.0)
    with pytest.raises(ResourceError, match="6 processes in a row ended over the same rows"):
        list(map_batches(items, tiny_world.Crasher, {"key": "2"}, 1, config))
