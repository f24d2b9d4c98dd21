"""Two Ray nodes that see nothing of the launcher's files: all travels through an S3 server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.components.data.object_store import store_of, use_store
from tests.pipeline.cluster.test_cluster import NodeDied, TwoNodes, bring_up, take_down, world_in
from tests.pipeline.command import PATIENCE_S, kill, run, start, train_words, undisturbed, wait_for

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_500)]  # minutes
# Long enough to be killed in the middle.
LONG = {"total_kimg": 1.024, "sample_every_kimg": 0.512}
STORE = "s3://bucket/ganline"


@dataclass
class Apart:
    """Two nodes, the folder that they do not see, and the bucket's folder."""

    ray: TwoNodes
    places: list[str]
    hidden: Path
    bucket: Path

    def trainers(self) -> list[psutil.Process]:
        """Return the processes of trainings on these nodes."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("GANLINE_NODE_DIR", "").startswith(tuple(self.places))
                if ours and "ray::" in (words := " ".join(process.cmdline())) and "Train" in words:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def may_hide() -> bool:
    """Tell whether a process can be given another view of the file system here."""
    tried = ["unshare", "--mount", "true"]
    try:
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module")
def apart(tmp_path_factory) -> Iterator[Apart]:
    if not may_hide():
        pytest.skip("this user may not hide a folder from a process (unshare --mount)")
    hidden = tmp_path_factory.mktemp("launcher")
    buckets = tmp_path_factory.mktemp("buckets")
    (buckets / "bucket").mkdir()
    with store_of(buckets) as port, pytest.MonkeyPatch.context() as patch:
        use_store(patch, port)
        for attempt in range(3):  # a raylet on a busy machine may give up while it starts
            places = [tempfile.mkdtemp(prefix="ray", dir="/tmp") for _ in range(2)]
            nodes: list[subprocess.Popen[bytes]] = []
            try:
                ray = bring_up(places, nodes, hidden)
                break
            except NodeDied:
                take_down(places, nodes)
                assert attempt < 2, "a Ray node died three times while starting"
        patch.setenv("GANLINE_NODE_DIR", str(hidden / "node"))
        try:
            yield Apart(ray, places, hidden, buckets / "bucket")
        finally:
            take_down(places, nodes)


def world_of(apart: Apart, name: str) -> Path:
    (apart.hidden / name).mkdir()
    return world_in(apart.hidden / name, cluster={"store": STORE}, train_base=LONG)


def states(apart: Apart) -> list[Path]:
    return sorted(apart.bucket.glob("ganline/runs/train_base-*/nimg-*.json"))


def generator(world: Path) -> bytes:
    return (world / "artifacts/base/generator.safetensors").read_bytes()


@pytest.mark.row("A15")
def test_all_machines_are_lost_and_others_go_on_from_the_store(apart, tmp_path):
    world = world_of(apart, "world")
    command = start(world, *train_words(), RAY_ADDRESS=apart.ray.address)
    wait_for(lambda: len(states(apart)) == 2, command)
    kill(command.pid)
    command.wait(60)
    for process in apart.trainers():  # all of them die in the middle of what they do
        process.kill()
    limit = time.monotonic() + PATIENCE_S
    while apart.trainers():  # Ray may start them once more, until it misses the command
        assert time.monotonic() < limit, "a training outlives its command"
        time.sleep(0.5)
    assert 0 < int(states(apart)[0].stem.removeprefix("nimg-")) < 1_024
    for folder in (world / "runs", apart.hidden / "node", *(Path(p, "node") for p in apart.places)):
        shutil.rmtree(folder)

    code, log = run(world, *train_words("--report", "base.json"), RAY_ADDRESS=apart.ray.dashboard)
    assert code == 0, log
    assert json.loads((world / "base.json").read_text())["nimg"] == 1_024
    assert "kimg" in log  # followed live, through the store
    assert generator(world) == undisturbed(world, tmp_path / "alone").read_bytes()
    assert len(list((world / "artifacts/base/samples").iterdir())) == 3
    # Each machine has fetched its own, and nothing was handed over in a folder.
    assert all(
        list(Path(place, "node/inputs").glob("train-*/store.json")) for place in apart.places
    )
    assert not (world / "runs/inputs").exists() and len(states(apart)) <= 2

    # Another launcher with the same parameters takes what is there, and trains nothing.
    other = world_of(apart, "other")
    code, log = run(other, *train_words(), RAY_ADDRESS=apart.ray.dashboard)
    assert code == 0 and "is finished, taking its artifact" in log, log
    assert generator(other) == generator(world)


def test_a_bucket_that_is_not_there_is_said_before_anything_starts(apart):
    (apart.hidden / "no-bucket").mkdir()
    place = {"store": "s3://nowhere/ganline"}
    world = world_in(apart.hidden / "no-bucket", cluster=place, train_base=LONG)
    code, log = run(world, *train_words(), RAY_ADDRESS=apart.ray.address)
    assert code == 5 and "NO_SUCH_BUCKET" in log.splitlines()[-1], log
    assert log.splitlines()[-1].startswith("error: not taken: "), log
    assert "Traceback" not in log and os.listdir(world / "artifacts") == ["encoders"]
