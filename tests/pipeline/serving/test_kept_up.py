"""The process that answers is killed, again and again, and fed with bodies that are no requests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from components.errors import ResourceError
from pipeline.serving import kept_up
from tests.pipeline.serving.test_server import PROMPT, RELEASE, ROOT, pixels, post
from tests.pipeline.tracking.test_served_model import _free_port

PATIENCE_S = 120


@pytest.fixture
def command(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = _free_port()
    words = [sys.executable, "-m", "pipeline.cli", "serve", str(RELEASE), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert f"127.0.0.1:{port}" in process.stdout.readline()
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.communicate()


def worker(process: subprocess.Popen[str]) -> psutil.Process:
    """Return the process that answers now."""
    limit = time.monotonic() + PATIENCE_S
    while not (found := psutil.Process(process.pid).children()):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)
    return found[0]


def ask(address: str, seed: int) -> bytes:
    """Ask until there is an answer: a request that dies with its process is lost."""
    limit = time.monotonic() + PATIENCE_S
    while True:
        try:
            status, png = post(address, prompt=PROMPT, seed=seed)
        except OSError:
            assert time.monotonic() < limit
            continue
        assert status == 200, png
        return png


def same(one: bytes, other: bytes) -> bool:
    """Whether two pictures differ by one level at most: they may be of two batches."""
    return int(np.abs(pixels(one) - pixels(other)).max()) <= 1


@pytest.mark.slow
@pytest.mark.row("F4", "G20")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.fuzz)])
def test_serving_goes_on_when_its_process_is_killed(command, kills: int) -> None:
    process, address = command
    pictures = {seed: ask(address, seed) for seed in range(8)}
    for kill in range(kills):
        if kill:  # deaths that come faster are taken for a server that cannot live
            time.sleep(kept_up.WITHIN_S / (kept_up.MOST_DEATHS - 1))
        doomed = worker(process)
        with ThreadPoolExecutor(8) as clients:
            asked = [clients.submit(ask, address, seed) for seed in pictures]
            time.sleep(0.05)
            doomed.kill()
            found = [one.result() for one in asked]
        assert all(same(pictures[seed], png) for seed, png in enumerate(found))
        doomed.wait(PATIENCE_S)  # all may have been answered before it was dead
        assert worker(process).pid != doomed.pid
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b'{"seed": ' + b"7" * 10_000 + b"}"):
        status, answer = post(address, content=body)
        assert (status, "the body is no JSON" in answer["error"]) == (400, True)
    status, answer = post(address, prompt=PROMPT, seed=10**4000)
    assert (status, "seed" in answer["error"]) == (400, True)
    last = worker(process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and "stopped" in said and not last.is_running()
    assert said.count("ended by signal 9: it is started again") == kills


@pytest.mark.slow
@pytest.mark.row("F4")
def test_nothing_outlives_the_command(command) -> None:
    process, _ = command
    last = worker(process)
    process.kill()
    process.wait()
    last.wait(10)


class Ended:
    """Stands for a process that has ended."""

    def __init__(self, code: int) -> None:
        self._code = code

    def wait(self) -> int:
        return self._code

    poll = wait


def test_a_server_that_dies_again_and_again_is_given_up(monkeypatch) -> None:
    said: list[str] = []
    codes = iter([-9, 1, -9, -11, -9])
    monkeypatch.setattr(kept_up, "_start", lambda words, listening: Ended(next(codes)))
    with pytest.raises(ResourceError, match="ended 5 times in a minute, by signal 9"):
        kept_up.kept_up(["serve"], ("127.0.0.1", 0), said.append)
    assert len(said) == 4 and "with code 1" in said[1]
    codes = iter([-9, 5])
    assert kept_up.kept_up(["serve"], ("127.0.0.1", 0), said.append) == 5
