"""SIGTERM to everything at once, as `timeout`, systemd and Slurm send it; and a rank that hangs."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from pipeline.cluster.shared_ray import FOLDER, Card
from tests.pipeline import tiny_world
from tests.pipeline.command import (
    Command,
    checkout,
    kill,
    nimg_of,
    run,
    start,
    train_words,
    undisturbed,
    wait_for,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

KIMG = 2.048


def world_of(folder: Path, **cluster: int) -> Path:
    checkout(folder)
    tiny_world.write_world(folder)
    train = {"total_kimg": KIMG, "sample_every_kimg": 0.0}
    tiny_world.write_params(folder, train_base=train, cluster=cluster)
    return folder


def run_dir(world: Path) -> Path:
    return next((world / "runs").glob("train_base-*"), world / "none")


def ray_of(world: Path) -> list[psutil.Process]:
    """Return the keeper of the command's Ray and all below it."""
    for folder in (world / "runs" / FOLDER).iterdir():
        if card := Card.read(folder):
            keeper = psutil.Process(card.guardians()[0].pid)
            return [keeper, *keeper.children(recursive=True)]
    return []


def assert_gone(processes: list[psutil.Process], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while left := [p for p in processes if p.is_running() and p.status() != "zombie"]:
        assert time.monotonic() < limit, f"left behind: {left}"
        time.sleep(0.1)


def stopped_within(command: Command, seconds: float) -> None:
    begun = time.monotonic()
    code = command.wait(600)
    assert code == 7, command.said.read_text()
    assert time.monotonic() - begun < seconds
    said = command.said.read_text().splitlines()
    assert (
        "run" in said[-1]
        and "to continue" in said[-1]
        and not any("Traceback" in line for line in said)
    )


@pytest.mark.fuzz  # more than a minute: two trainings and their ends
@pytest.mark.row("G4", "A13")
def test_sigterm_to_all_processes_saves_the_state_and_ends_with_7(tmp_path):
    world = world_of(tmp_path / "world")
    # timeout(1), a shell, DVC: the process group.
    command = start(world, *train_words(), start_new_session=True)
    wait_for(lambda: nimg_of(run_dir(world)) >= 64, command)
    daemons = ray_of(world)
    assert len(daemons) > 4
    os.killpg(command.pid, signal.SIGTERM)
    stopped_within(command, 30)
    assert_gone(daemons, 10)
    assert not (world / "runs" / FOLDER).exists()
    stopped_at = nimg_of(run_dir(world))

    # systemd (KillMode=control-group), Slurm: every process, whatever its group.
    command = start(world, *train_words(), start_new_session=True)
    wait_for(lambda: nimg_of(run_dir(world)) >= stopped_at + 64, command)
    daemons = ray_of(world)
    for process in [*daemons, *psutil.Process(command.pid).children(recursive=True)]:
        process.send_signal(signal.SIGTERM)
    command.send_signal(signal.SIGTERM)
    stopped_within(command, 30)
    assert_gone(daemons, 10)

    code, log = run(world, *train_words())
    assert code == 0, log
    made = (world / "artifacts/base/generator.safetensors").read_bytes()
    assert made == undisturbed(world, tmp_path).read_bytes()


@pytest.mark.fuzz
@pytest.mark.row("G4")
def test_sigterm_to_the_group_of_ganline_repro_saves_the_state_too(tmp_path):
    world = world_of(tmp_path / "world")
    words = " ".join(["python", "-m", *train_words()])
    stage = {"cmd": words, "deps": ["data/train"], "outs": ["artifacts/base"]}
    (world / "dvc.yaml").write_text(json.dumps({"stages": {"train_base": stage}}))
    assert run(world, "dvc", "init", "-q", "--no-scm")[0] == 0
    command = start(world, "pipeline.cli", "repro", start_new_session=True)
    wait_for(lambda: nimg_of(run_dir(world)) >= 64, command)
    os.killpg(command.pid, signal.SIGTERM)
    stopped_within(command, 30)
    last = nimg_of(run_dir(world))
    assert (run_dir(world) / "states" / f"nimg-{last:012d}").is_dir()


@pytest.mark.fuzz
@pytest.mark.row("A14")
def test_a_stopped_rank_is_named_ended_and_replaced(tmp_path):
    world = world_of(tmp_path / "world", num_workers=2)
    command = start(world, *train_words())
    wait_for(lambda: nimg_of(run_dir(world)) >= 64, command)
    sign = json.loads((run_dir(world) / "pulse" / "rank-0.json").read_text())
    os.kill(sign["pid"], signal.SIGSTOP)
    try:
        wait_for(lambda: "is ended, the training starts again" in command.said.read_text(), command)
        assert command.wait(600) == 0, command.said.read_text()
    finally:
        if psutil.pid_exists(sign["pid"]):
            kill(sign["pid"])
    said = command.said.read_text()
    assert f"rank 0 of 2 (process {sign['pid']}) has given no sign of life for 6" in said
    assert "last in phase '" in said
    made = (world / "artifacts/base/generator.safetensors").read_bytes()
    assert made == undisturbed(world, tmp_path).read_bytes()
