"""The train command, hit by everything: stopped, workers killed, killed itself, run again."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.pipeline import tiny_world
from tests.pipeline.command import (
    kill,
    nimg_of,
    run,
    start,
    train_words,
    undisturbed,
    wait_for,
    worker_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

KIMG = 2.048


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    from tests.pipeline.command import checkout

    folder = checkout(tmp_path_factory.mktemp("world"))
    tiny_world.write_world(folder)
    train = {"total_kimg": KIMG, "sample_every_kimg": 0.0}
    tiny_world.write_params(folder, train_base=train)
    return folder


@pytest.mark.row("A1")
def test_a_run_that_is_stopped_and_killed_ends_bit_equal_to_one_that_is_not(world, tmp_path):
    words = train_words("--report", "reports/base.json", "--curve", "reports/base.csv")
    runs = world / "runs"

    def run_dir() -> Path:
        return next(runs.glob("train_base-*"), world / "none")

    # SIGTERM: the state is saved, exit code 7.
    command = start(world, *words)
    wait_for(lambda: nimg_of(run_dir()) >= 64, command)
    command.send_signal(signal.SIGTERM)
    assert command.wait(120) == 7
    stopped_at = nimg_of(run_dir())
    assert 64 <= stopped_at < KIMG * 1000
    assert "run the same command" in (world / "log.txt").read_text()

    # kill -9 of the training worker: Ray starts another, which continues.
    command = start(world, *words)
    wait_for(lambda: nimg_of(run_dir()) >= stopped_at + 128, command)
    first = worker_of(run_dir())
    kill(first)
    second = wait_for(
        lambda: worker_of(run_dir()) not in (0, first) and worker_of(run_dir()), command
    )
    assert second != first
    # kill -9 of the whole command, in the middle.
    at = nimg_of(run_dir())
    wait_for(lambda: nimg_of(run_dir()) >= at + 128, command)
    kill(command.pid)
    command.wait()
    assert nimg_of(run_dir()) < KIMG * 1000

    code, log = run(world, *words)
    assert code == 0, log
    made = (world / "artifacts/base/generator.safetensors").read_bytes()
    assert made == undisturbed(world, tmp_path).read_bytes()

    report = json.loads((world / "reports/base.json").read_text())
    assert report["nimg"] == KIMG * 1000
    # Numbers of the machine are no part of what git holds.
    facts = json.loads((world / "runs/stages/train_base.json").read_text())["facts"]
    assert facts["images_per_s"] > 0 and not facts.keys() & report.keys()
    rows = (world / "reports/base.csv").read_text().splitlines()
    # One tick each, in spite of all that.
    assert sum(",nonfinite_total," in row for row in rows) == KIMG * 1000 / 32

    # A finished run is only copied out; Ray is not even imported.
    (world / "ray.py").write_text("raise SystemExit(99)")
    code, log = run(world, *train_words(out="artifacts/again"))
    (world / "ray.py").unlink()
    assert code == 0 and "is finished" in log
    assert (world / "artifacts/again/generator.safetensors").read_bytes() == made


def test_workers_that_do_not_divide_the_batch_are_refused_before_ray(world):
    tiny_world.write_params(world, cluster={"num_workers": 3})
    (world / "ray.py").write_text("raise SystemExit(99)")
    code, log = run(world, *train_words())
    (world / "ray.py").unlink()
    assert code == 2 and "cluster.num_workers" in log


@pytest.mark.row("C4")
def test_dry_run_counts_networks_and_writes_nothing(world):
    tiny_world.write_params(world, train_base={"total_kimg": 7.0})
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*") if "__pycache__" not in p.parts}
    code, log = run(world, *train_words("--dry-run"))
    assert code == 0
    after = {p: p.stat().st_mtime_ns for p in world.rglob("*") if "__pycache__" not in p.parts}
    changed = {p for p in after if p not in before or before[p] != after[p]}
    assert changed <= {world, world / "log.txt"}
    generator = tiny_generator_parameters()
    assert f"generator: {generator}" in log and "discriminator:" in log


def test_dry_run_names_a_start_that_does_not_fit(world):
    from tests.pipeline.trained_world import textless_release

    tiny_world.write_params(world)
    textless_release(world / "of_classes", ["cat", "dog"])
    code, log = run(world, *train_words("--dry-run", "--start", str(world / "of_classes")))
    assert code == 2
    (line,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert "does not fit" in line and "unexpected" not in line


def tiny_generator_parameters() -> int:
    from components.artifacts.family import recipe_from
    from models.interfaces import ConditionShape

    shape = ConditionShape(pooled_dim=tiny_world.WIDTH)
    network = recipe_from(tiny_world.RECIPE).generator(tiny_world.SIDE, shape)
    return sum(p.numel() for p in network.parameters())
