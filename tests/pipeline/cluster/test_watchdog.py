"""A rank that is stopped or waits for ever is named and ended; a slow one is left alone."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import models.families
from components.errors import Interrupted
from components.training import pulse as pulse_module
from components.training import site as site_module
from components.training.job import TrainingJob
from components.training.pulse import FOLDER, Pulse
from models.families import Family
from pipeline.cluster.rank import run_rank
from pipeline.cluster.soft_stop import STOP
from pipeline.cluster.watchdog import SILENT_S, STOPPING_S, Watchdog
from tests.components.training.fake_recipes import FakeSource, fake_config

START = multiprocessing.get_context("fork")


def work(folder: Path, rank: int, moves: bool) -> None:
    """A rank that beats, and goes from step to step or stays in one."""
    pulse_module.BEAT_S = 0.05
    pulse = Pulse(folder, rank, 2)
    with pulse.beating():
        pulse.at("judge at nimg 64")
        while True:
            time.sleep(0.05)
            if moves:
                pulse.at(f"judge at nimg {pulse.steps}")


class Clock:
    """Time that a test moves on: a minute of silence takes none."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Run:
    """Two ranks of a training and their watchdog."""

    def __init__(self, folder: Path, moves: tuple[bool, bool]) -> None:
        self.folder, self.said, self.left = folder, [], []
        self.clock = Clock()
        self.dog = Watchdog(folder, 600.0, self.said.append, self.clock, self.left.append)
        ranks = [START.Process(target=work, args=(folder / FOLDER, n, moves[n])) for n in (0, 1)]
        for rank in ranks:
            rank.start()
        self.ranks = ranks
        self.until(lambda: len(list((folder / FOLDER).glob("rank-?.json"))) == 2)
        self.until(lambda: all(self.fact(rank, "steps") for rank in (0, 1)))
        self.dog.look()

    def until(self, true) -> None:
        limit = time.monotonic() + 60
        while not true():
            assert time.monotonic() < limit
            time.sleep(0.02)

    def fact(self, rank: int, name: str) -> int:
        return json.loads((self.folder / FOLDER / f"rank-{rank}.json").read_text())[name]

    def beats(self, rank: int) -> int:
        return self.fact(rank, "beats")

    def later(self, seconds: float, beating: tuple[int, ...] = (0, 1)) -> None:
        """Let time go by, in which the ranks that live have beaten."""
        before = {rank: self.beats(rank) for rank in beating}
        self.until(lambda: all(self.beats(rank) > before[rank] + 1 for rank in beating))
        self.clock.now += seconds
        self.dog.look()

    def end(self) -> None:
        for rank in self.ranks:
            rank.kill()
            rank.join()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path, (True, True))
    yield run
    run.end()


@pytest.mark.row("A14")
def test_a_stopped_rank_is_named_with_its_phase_and_ended(both: Run) -> None:
    first = both.ranks[0]
    os.kill(first.pid, signal.SIGSTOP)
    for _ in range(9):
        both.later(SILENT_S / 6, beating=(1,))
        if both.said:
            break
    (line,) = both.said
    assert line.startswith(f"warning: rank 0 of 2 (process {first.pid}) has given no sign of life")
    assert "last in phase 'judge at nimg" in line and "starts again" in line
    first.join(10)
    assert first.exitcode == -signal.SIGKILL and both.ranks[1].is_alive()
    both.later(1.0, beating=(1,))
    assert len(both.said) == 1 and both.left == []


@pytest.mark.row("A14")
def test_a_rank_that_waits_for_ever_is_ended_though_it_beats(tmp_path: Path) -> None:
    run = Run(tmp_path, (True, False))
    try:
        run.later(599.0)
        assert run.said == [] and run.ranks[1].is_alive()
        run.later(2.0)
        assert "rank 1 of 2" in run.said[0] and "has not moved for 601 s" in run.said[0]
        run.ranks[1].join(10)
        assert run.ranks[1].exitcode == -signal.SIGKILL and run.ranks[0].is_alive()
    finally:
        run.end()


@pytest.mark.row("A14")
def test_a_slow_but_living_rank_is_left_alone(both: Run) -> None:
    for _ in range(5):
        both.later(500.0)
    assert both.said == [] and all(rank.is_alive() for rank in both.ranks)


@pytest.mark.row("G3")
def test_a_stop_that_a_hanging_rank_would_never_obey_ends_the_command(both: Run) -> None:
    os.kill(both.ranks[0].pid, signal.SIGSTOP)
    (both.folder / STOP).touch()
    for _ in range(3):
        both.later(STOPPING_S / 2 + 1, beating=(1,))
        if both.left:
            break
    (error,) = both.left
    assert isinstance(error, Interrupted) and "rank 0 of 2" in str(error)
    for rank in both.ranks:
        rank.join(10)
        assert rank.exitcode == -signal.SIGKILL


def test_signs_of_the_dead_and_of_others_are_no_alarm(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    dog = Watchdog(tmp_path, 600.0, said.append, clock)
    child = START.Process(target=time.sleep, args=(0,))
    child.start()
    child.join()
    (tmp_path / FOLDER).mkdir()
    facts = {"rank": 0, "size": 1, "phase": "x", "steps": 1, "beats": 1, "process_start": "1"}
    for number, pid in enumerate((child.pid, os.getpid())):
        path = tmp_path / FOLDER / f"rank-{number}.json"
        path.write_text(json.dumps(facts | {"pid": pid, "rank": number}))
    (tmp_path / FOLDER / "rank-7.json").write_text("{")
    for _ in range(3):
        dog.look()
        clock.now += 10_000
    assert said == []


def test_a_pulse_leaves_nothing_behind_and_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / FOLDER)
    with pulse.beating():
        assert json.loads(pulse.path.read_text())["phase"] == "start"
    assert not (tmp_path / FOLDER).exists()
    (tmp_path / "file").write_text("")
    with Pulse(tmp_path / "file").beating():
        pass


def test_a_training_rank_says_what_it_does_and_takes_its_sign_away(tmp_path, monkeypatch) -> None:
    family = Family(recipe="tests.components.training.fake_recipes:FakeGAN")
    monkeypatch.setattr(models.families, "FAMILIES", {"fake_gan": family})
    monkeypatch.setattr(site_module, "_open", lambda *_: FakeSource())
    seen: list[str] = []
    monkeypatch.setattr(Pulse, "at", lambda pulse, phase: seen.append(phase))
    job = TrainingJob(
        stage="train_base",
        seed=3,
        recipe={"name": "fake_gan"},
        train=dataclasses.asdict(fake_config(total_kimg=0.016)),
        run_dir=str(tmp_path),
        data_dir="fake",
    )
    settings = {"job": dataclasses.asdict(job), "threads": 1, "stage": ""}
    outcome = run_rank(settings, 0, 1, "cpu", lambda line: None)
    assert outcome["result"]["nimg"] == 16
    assert seen[:3] == ["batch at nimg 0", "judge at nimg 0", "judge at nimg 0, sum over the ranks"]
    assert seen[-1].startswith("save at nimg 16")
    assert not (tmp_path / FOLDER).exists()
