"""Nodes of a cluster that die in the middle of a training: one, or all with their head."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from components.training.store import StateStore
from tests.pipeline.cluster.test_cluster import NodeDied, bring_up, take_down, world_in
from tests.pipeline.command import (
    PATIENCE_S,
    nimg_of,
    run,
    start,
    train_words,
    undisturbed,
    wait_for,
)

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_500)]
KIMG, EVERY = 1.024, 64
LONG = {"total_kimg": KIMG, "sample_every_kimg": 0.0}


class Nodes:
    """Two nodes without a dashboard, that can be killed and started anew."""

    def __init__(self) -> None:
        for attempt in range(3):  # Ray gives a node 30 s to start, on a busy machine too
            try:
                self._start()
                return
            except Exception:
                if attempt == 2:
                    raise

    def _start(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            self.cluster.add_node(num_cpus=1)
            self.cluster.wait_for_nodes(PATIENCE_S)
        except Exception:
            self.kill()
            raise

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def replace_second(self) -> None:
        """Kill the node that is not the head with all of its processes, and start another."""
        (second,) = self.cluster.worker_nodes
        self.cluster.remove_node(second, allow_graceful=False)
        self.cluster.add_node(num_cpus=1)

    def kill(self) -> None:
        for node in (*self.cluster.worker_nodes, self.cluster.head_node):
            if node is not None:
                node.kill_all_processes(check_alive=False, allow_graceful=False)


class Jobs:
    """Two nodes of `ray start` that take jobs."""

    def __init__(self) -> None:
        for _ in range(3):  # a raylet on a busy machine may give up while it starts
            self.places = [tempfile.mkdtemp(prefix="ray", dir="/tmp") for _ in range(2)]
            self.processes: list[subprocess.Popen[bytes]] = []
            try:
                self.address = bring_up(self.places, self.processes).dashboard
                return
            except NodeDied:
                self.kill()
        raise NodeDied

    def kill(self) -> None:
        take_down(self.places, self.processes)


def run_dir(world: Path) -> Path:
    return next((world / "runs").glob("train_base-*"), world / "none")


def made_as_undisturbed(world: Path, folder: Path) -> bool:
    made = (world / "artifacts/base/generator.safetensors").read_bytes()
    return made == undisturbed(world, folder).read_bytes()


@pytest.mark.row("A15")
def test_a_node_dies_and_another_takes_its_place(begin, tmp_path):
    nodes = begin(Nodes)
    world = world_in(tmp_path / "world", train_base=LONG)
    command = start(world, *train_words(), RAY_ADDRESS=nodes.address)
    wait_for(lambda: nimg_of(run_dir(world)) >= 2 * EVERY, command)
    nodes.replace_second()
    assert command.wait(600) == 0, command.said.read_text()
    assert made_as_undisturbed(world, tmp_path / "alone")


@pytest.mark.row("A15")
@pytest.mark.parametrize("kind", [Nodes, Jobs])
def test_all_nodes_die_with_their_head_and_the_same_command_goes_on(begin, tmp_path, kind):
    nodes = begin(kind)
    world = world_in(tmp_path / "world", train_base=LONG)
    command = start(world, *train_words(), RAY_ADDRESS=nodes.address)
    wait_for(lambda: nimg_of(run_dir(world)) >= 3 * EVERY, command)
    nodes.kill()
    reached, begun = nimg_of(run_dir(world)), time.monotonic()
    code = command.wait(600)
    said = command.said.read_text()
    assert code == 6 and time.monotonic() - begun < 120, said
    assert said.splitlines()[-1].startswith("error: ") and "the same command" in said, said

    saved = StateStore(folder=run_dir(world) / "states").last_name()
    assert reached - int(saved.removeprefix("nimg-")) <= EVERY  # one interval at most is lost
    nodes = begin(kind)
    code, log = run(world, *train_words(), RAY_ADDRESS=nodes.address)
    assert code == 0, log
    assert made_as_undisturbed(world, tmp_path / "alone")
