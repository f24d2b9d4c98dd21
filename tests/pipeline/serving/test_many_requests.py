"""Two hundred requests at once: an answer each, in bounded memory; none names a file."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.pipeline.serving.test_kept_up import ask, command, worker
from tests.pipeline.serving.test_server import PROMPT, post

__all__ = ["command"]  # the fixture
MIB = 2**20


@pytest.mark.fuzz
@pytest.mark.row("F2")
@pytest.mark.timeout(900)
def test_two_hundred_requests_at_once(command, record_property) -> None:
    process, address = command
    drawing = psutil.Process(worker(process).pid)
    with ThreadPoolExecutor(64) as clients:  # as many as may share batches, and more
        list(clients.map(lambda seed: ask(address, seed), range(64)))
    before = drawing.memory_info().rss

    def one(number: int) -> tuple[int, float]:
        started = time.monotonic()
        status, answer = post(address, prompt=PROMPT, seed=number, n=1 + number % 4)
        if status != 200:
            assert "waiting" in answer["error"], answer
        return status, time.monotonic() - started

    peak = 0
    with ThreadPoolExecutor(200) as clients:
        asked = [clients.submit(one, number) for number in range(200)]
        while not all(request.done() for request in asked):
            peak = max(peak, drawing.memory_info().rss)
            time.sleep(0.02)
    answers = [request.result() for request in asked]
    counts = Counter(status for status, _ in answers)
    drawn = sorted(seconds for status, seconds in answers if status == 200)
    p95 = drawn[int(0.95 * len(drawn))]
    record_property("p95_s", p95)
    print(f"{dict(counts)}, p95 {p95:.1f} s, {before / MIB:.0f} -> {peak / MIB:.0f} MiB")
    assert set(counts) <= {200, 503} and counts[200] >= 64, counts
    assert peak <= 1.2 * before, (before, peak)
    assert p95 < 60 and ask(address, 1)  # alive, and nobody waited for ever


@pytest.mark.slow
@pytest.mark.row("F5")
@pytest.mark.timeout(300)
def test_no_request_names_a_file_or_an_address(command) -> None:
    _, address = command
    ask(address, 0)
    for key in ("path", "file", "image", "url", "init_image", "model", "code", "out"):
        for value in ("/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest"):
            status, answer = post(
                address, content=json.dumps({"prompt": PROMPT, key: value}).encode()
            )
            assert (status, f"unknown key '{key}'" in answer["error"]) == (400, True), answer
    status, _ = post(address, prompt="file:///etc/passwd")  # a text like any other
    assert status == 200
    status, _ = post(address, path="v1/images?model=/etc/passwd", prompt=PROMPT)
    assert status == 400
    for path in (
        "../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "static//etc/passwd",
        "/etc/passwd",
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/{path}", timeout=20)
        assert refused.value.code in (404, 405)
