"""One run per folder."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from components.errors import ConfigError
from components.training import lock as lock_module
from components.training.lock import RunLock


def owner(path, **changes):
    values = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "token": "",
        "process_start": lock_module.process_start(os.getpid()),
        "started_utc": "2026-01-01T00:00:00Z",
    }
    path.write_text(json.dumps(values | changes))


@pytest.mark.row("A17")
def test_the_second_run_is_refused_at_once_and_told_who_owns_it(tmp_path):
    first = RunLock(tmp_path)
    first.acquire()
    begun = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        RunLock(tmp_path).acquire()
    assert time.monotonic() - begun < 3
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(caught.value)
    assert caught.value.exit_code == 2
    first.release()
    again = RunLock(tmp_path)
    again.acquire()
    again.release()
    assert not (tmp_path / "run.lock").exists()


@pytest.mark.row("A17")
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    owner(tmp_path / "run.lock", pid=child.pid, process_start="1")
    lock = RunLock(tmp_path)
    lock.acquire()
    assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    lock.release()


def test_the_lock_of_a_killed_child_not_yet_reaped_is_taken_over(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start = lock_module.process_start(child.pid)
    owner(tmp_path / "run.lock", pid=child.pid, process_start=start)
    with pytest.raises(ConfigError):
        RunLock(tmp_path).acquire()
    child.kill()
    time.sleep(0.2)
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()
    child.wait()


def test_a_pid_that_now_is_another_process_does_not_hold(tmp_path):
    owner(tmp_path / "run.lock", process_start="12")
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()


def test_an_owner_on_another_host_holds_while_its_heart_beats(tmp_path):
    path = tmp_path / "run.lock"
    owner(path, host="elsewhere", pid=1)
    with pytest.raises(ConfigError, match="process 1 on elsewhere"):
        RunLock(tmp_path).acquire()
    old = time.time() - lock_module.STALE_S - 5
    os.utime(path, (old, old))
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()


def test_the_same_driver_takes_its_lost_workers_lock_over(tmp_path):
    owner(tmp_path / "run.lock", host="lost node", pid=1, token="driver")
    with pytest.raises(ConfigError):
        RunLock(tmp_path, token="another").acquire()
    lock = RunLock(tmp_path, token="driver")
    lock.acquire()
    lock.release()


def test_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.02)
    lock = RunLock(tmp_path)
    lock.acquire()
    os.utime(tmp_path / "run.lock", (1, 1))
    deadline = time.monotonic() + 5
    while (tmp_path / "run.lock").stat().st_mtime < 1000 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "run.lock").stat().st_mtime > 1000
    lock.release()


def test_a_lock_file_cut_by_a_crash_does_not_hold(tmp_path):
    (tmp_path / "run.lock").write_text('{"pid": 1')
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()
