"""Score and filter on two nodes, of which one is killed at a random moment: the same bytes."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from pipeline.stages import synthesize
from tests.fuzz.mutations import count
from tests.pipeline.cluster.test_lost_nodes import Nodes
from tests.pipeline.command import PATIENCE_S, Command, checkout, start
from tests.pipeline.stages.test_filter import run, write_params
from tests.pipeline.tiny_world import write_encoders

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(7_200)]
ON_RAY = ("--set", "cluster.scoring_workers=2", "--set", "cluster.cpus_per_worker=1")
KILLS = count(10)
LAST = 0.95  # of the time that a stage takes: later than this it may be over


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A clone of the project with 240 pairs in 12 tars and random nets."""
    checkout(tmp_path)
    write_encoders(tmp_path / "encoders")
    loose = {"clip_similarity_min": -1.0, "shard_rows": 20}
    write_params(tmp_path, synthesize={"pairs": 240, "shard_pairs": 20}, filter=loose)
    raw, truth = str(tmp_path / "raw"), str(tmp_path / "truth")
    assert run(synthesize, tmp_path, "--raw", raw, "--truth", truth) == 0
    return tmp_path


def begun(world: Path, stage: str, address: str = "") -> Command:
    """Start a stage, on the cluster at an address or here."""
    places = {"source": "raw/train", "encoders": "encoders", "out": f"{stage}_out"}
    if stage == "filter":
        places |= {"scores": "score_out", "decisions": "decisions.parquet"}
        places |= {"report": "filter.json", "plots": "plots"}
    words = [word for name, place in places.items() for word in (f"--{name}", place)]
    more = (*ON_RAY, "--set", f"{stage}.backend=ray") if address else ()
    extra = {"RAY_ADDRESS": address} if address else {}
    return start(world, f"pipeline.stages.{stage}", *words, *more, **extra)


def made(world: Path, command: Command, stage: str) -> dict[str, bytes]:
    """Wait for a stage; return what it wrote."""
    assert command.wait(PATIENCE_S) == 0, command.said.read_text()
    return {path.name: path.read_bytes() for path in (world / f"{stage}_out").iterdir()}


@pytest.mark.row("A15")
@pytest.mark.parametrize("stage", ["score", "filter"])
def test_a_node_that_is_killed_changes_no_byte(begin, world: Path, stage: str) -> None:
    local = made(world, begun(world, "score"), "score")
    if stage == "filter":
        local = made(world, begun(world, "filter"), "filter")
    assert len(local) > (1 if stage == "score" else 8)
    nodes, rng, kills = begin(Nodes), random.Random(16), 0
    since = time.monotonic()
    assert made(world, begun(world, stage, nodes.address), stage) == local
    takes_s = time.monotonic() - since
    while kills < KILLS:
        command = begun(world, stage, nodes.address)
        moment_s = rng.uniform(0, LAST) * takes_s
        time.sleep(moment_s)
        before = command.poll()
        (second,) = nodes.cluster.worker_nodes
        nodes.cluster.remove_node(second, allow_graceful=False)
        kills += before is None  # on a busy machine one may be over already: once more
        found = made(world, command, stage)
        assert found == local, f"{stage}: killed after {moment_s:.2f} of {takes_s:.2f} s"
        nodes.cluster.add_node(num_cpus=1)
        nodes.cluster.wait_for_nodes(PATIENCE_S)
    print(f"{stage}: {kills} of {KILLS} kills, byte-equal each time; {takes_s:.1f} s undisturbed")
