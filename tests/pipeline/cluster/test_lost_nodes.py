"""Nodes of a cluster that die in the middle of a training: one, or all with their head."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from components.training.store import StateStore
from tests.pipeline.cluster.test_cluster import (
    NodeDied,
    TwoNodes,
    bring_up,
    ray_start,
    take_down,
    world_in,
)
from tests.pipeline.command import nimg_of, run, start, train_words, undisturbed, wait_for

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_500)]
KIMG, EVERY = 1.024, 64
LONG = {"total_kimg": KIMG, "sample_every_kimg": 0.0}


class Nodes:
    """Two nodes that can be killed, and started anew."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.places: list[str] = []
        self.two = self.begin()

    def begin(self) -> TwoNodes:
        for _ in range(3):  # a raylet on a busy machine may give up while it starts
            self.places = [tempfile.mkdtemp(prefix="ray", dir="/tmp") for _ in range(2)]
            self.processes = []
            try:
                return bring_up(self.places, self.processes)
            except NodeDied:
                self.kill()
        raise NodeDied

    def kill(self) -> None:
        take_down(self.places, self.processes)

    def replace_second(self) -> None:
        """Kill the node that is not the head with all of its processes, and start another."""
        second = self.processes.pop()
        for process in [*psutil.Process(second.pid).children(recursive=True), second]:
            process.kill()
        second.wait(60)
        self.places.append(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        again = ray_start(f"--address={self.two.address}", temporary=self.places[-1])
        self.processes.append(again)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    found = Nodes()
    try:
        yield found
    finally:
        found.kill()


def run_dir(world: Path) -> Path:
    return next((world / "runs").glob("train_base-*"), world / "none")


def made_as_undisturbed(world: Path, folder: Path) -> bool:
    made = (world / "artifacts/base/generator.safetensors").read_bytes()
    return made == undisturbed(world, folder).read_bytes()


@pytest.mark.row("A15")
def test_a_node_dies_and_another_takes_its_place(nodes, tmp_path):
    world = world_in(tmp_path / "world", train_base=LONG)
    command = start(world, *train_words(), RAY_ADDRESS=nodes.two.address)
    wait_for(lambda: nimg_of(run_dir(world)) >= 2 * EVERY, command)
    nodes.replace_second()
    assert command.wait(600) == 0, command.said.read_text()
    assert made_as_undisturbed(world, tmp_path / "alone")


@pytest.mark.row("A15")
@pytest.mark.parametrize("way", ["address", "dashboard"])
def test_all_nodes_die_with_their_head_and_the_same_command_goes_on(nodes, tmp_path, way):
    world = world_in(tmp_path / "world", train_base=LONG)
    command = start(world, *train_words(), RAY_ADDRESS=getattr(nodes.two, way))
    wait_for(lambda: nimg_of(run_dir(world)) >= 3 * EVERY, command)
    nodes.kill()
    reached, begun = nimg_of(run_dir(world)), time.monotonic()
    code = command.wait(600)
    said = command.said.read_text()
    assert code == 6 and time.monotonic() - begun < 120, said
    assert said.splitlines()[-1].startswith("error: ") and "the same command" in said, said

    saved = StateStore(folder=run_dir(world) / "states").last_name()
    assert reached - int(saved.removeprefix("nimg-")) <= EVERY  # one interval at most is lost
    nodes.two = nodes.begin()
    code, log = run(world, *train_words(), RAY_ADDRESS=getattr(nodes.two, way))
    assert code == 0, log
    assert made_as_undisturbed(world, tmp_path / "alone")
