"""The keeper of a private Ray, with processes that stand for Ray's own: SIGTERM reaches none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.cluster import shared_ray
from pipeline.cluster.guardian import Guardian
from pipeline.cluster.shared_ray import FOLDER, Card

ROOT = Path(__file__).parents[3]
# A keeper whose Ray is a process that SIGTERM would end.
KEEPER = """
import contextlib, subprocess, sys
from pipeline.cluster import keeper
@contextlib.contextmanager
def stand_in(cpus):
    daemon = subprocess.Popen(["sleep", "600"])
    print(daemon.pid, flush=True)
    yield "here:1"
keeper.private_ray, keeper.NEEDED = stand_in, ("sleep",)
keeper.main([sys.argv[1], "key", "1"])
"""


@pytest.mark.row("G4")
def test_sigterm_ends_neither_the_keeper_nor_what_it_started(tmp_path):
    command = subprocess.Popen(["sleep", "600"])
    owner = str(Guardian.of(psutil.Process(command.pid)))
    words = [sys.executable, "-c", KEEPER, str(tmp_path)]
    environment = {**os.environ, "GANLINE_COMMAND": owner, "PYTHONPATH": str(ROOT)}
    keeper = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    daemon = psutil.Process(int(keeper.stdout.readline()))
    limit = time.monotonic() + 60
    while Card.read(tmp_path) is None:
        assert time.monotonic() < limit
        time.sleep(0.05)
    for _ in range(2):
        keeper.send_signal(signal.SIGTERM)
        daemon.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert keeper.poll() is None and daemon.status() != psutil.STATUS_ZOMBIE
    daemon.kill()  # that it cannot block; the keeper ends as Ray does
    assert keeper.wait(30) == 0 and tmp_path.is_dir()
    command.kill()
    command.wait()
    keeper.stdout.close()


@pytest.mark.row("G4")
def test_a_stage_of_its_own_gets_a_keeper_and_leaves_nothing(tmp_path, monkeypatch):
    """The Ray of a stage that nobody started lies in a session of its own, and ends with it."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("GANLINE_COMMAND", raising=False)
    monkeypatch.setattr(shared_ray, "command_above", lambda: None)
    keeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    guardian = Guardian.of(psutil.Process(keeper.pid))

    def started(folder, key, cpus, command):
        assert command == Guardian.of_this_process() and cpus == 2
        Card(address="a:1", key=key, processes=[str(guardian)], helpers=[]).write(folder)
        return guardian

    monkeypatch.setattr(shared_ray, "_start_keeper", started)
    with shared_ray.held(2) as shared:
        shared.begin()
        assert shared.address() == "a:1"
        with shared_ray.held(2) as second:
            assert second is None  # one stage at a time has it
    assert keeper.wait(30) == -signal.SIGKILL
    assert not (tmp_path / "runs" / FOLDER).exists()
