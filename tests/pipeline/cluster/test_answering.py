"""An address that nobody answers is said in seconds, before Ray tries for minutes."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.errors import ResourceError
from pipeline.cluster.answering import check_answers

ROOT = Path(__file__).parents[3]


def test_nobody_there_is_one_line_in_seconds():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_answers(f"127.0.0.1:{port}")
        check_answers(f"http://127.0.0.1:{port}")
    started = time.monotonic()
    for address in (f"localhost:{port}", f"http://localhost:{port}"):
        with pytest.raises(ResourceError, match=r"no Ray cluster takes it: .*\(RAY_ADDRESS="):
            check_answers(address)
    assert time.monotonic() - started < 10
    check_answers(f"127.0.0.1:{port}")  # it answered before: not asked again


@pytest.mark.parametrize("address", ["nonsense", "http://", "host:port", "[::1"])
def test_what_is_no_address_is_said(address):
    with pytest.raises(ResourceError, match="unset RAY_ADDRESS to run here"):
        check_answers(address)


def test_rays_own_words_are_left_to_ray():
    for address in ("", "auto", "local"):
        check_answers(address)


HEAD = """
import socket, sys, time
from pipeline.cluster import answering
answering.POLL_S, answering.GONE_S = 0.05, 0.3
head = socket.create_server(("127.0.0.1", 0))
with answering.leaving_with_the_head("127.0.0.1:%d" % head.getsockname()[1]):
    time.sleep(1.0)
    print("alive", flush=True)
    head.close()
    time.sleep(60)
"""


@pytest.mark.row("A15")
def test_a_head_that_is_gone_ends_the_command_with_6():
    done = subprocess.run(
        [sys.executable, "-c", HEAD], capture_output=True, text=True, timeout=50, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (6, "alive\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the Ray cluster is lost: its head does not answer")
    assert "the same command continues" in line
