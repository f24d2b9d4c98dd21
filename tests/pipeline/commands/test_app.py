"""`ganline app` as a command: what ends it, what it outlives, and what it does not answer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import psutil
import pytest

from pipeline.commands import app
from tests.pipeline.serving.test_server import PROMPT, RELEASE, ROOT, post
from tests.pipeline.tracking.test_served_model import _free_port

PATIENCE_S = 120
WORDS = [sys.executable, "-m", "pipeline.cli", "app"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def command(tmp_path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = _free_port()
    words = [*WORDS, str(RELEASE), "--port", str(port)]
    files = tmp_path / "files"
    files.mkdir()
    process = subprocess.Popen(
        words, cwd=tmp_path, env=ENVIRONMENT | {"TMPDIR": str(files)}, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert f"127.0.0.1:{port}" in process.stdout.readline()
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.communicate()


def opened(address: str, path: str = "/") -> tuple[int, str]:
    """Return status and text of a path, asked for until there is an answer."""
    limit = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(address + path, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            assert time.monotonic() < limit
            time.sleep(0.1)


def part(process: subprocess.Popen[str], name: str) -> psutil.Process:
    """Return the process of the page or that of the models."""
    limit = time.monotonic() + PATIENCE_S
    while True:
        for child in psutil.Process(process.pid).children():
            if name in child.cmdline():
                return child
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert app.main([]) == 2
    said = "error: Gradio is not installed (ganline app): install it: pip install 'ganline[app]'\n"
    assert capsys.readouterr().err == said


@pytest.mark.slow
def test_a_broken_model_ends_the_command(tmp_path):
    shutil.copytree(RELEASE, tmp_path / "model")
    for weights in (tmp_path / "model").rglob("*.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-100])
    words = [*WORDS, "model", "--port", str(_free_port())]
    ended = subprocess.run(
        words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ended.returncode == 5 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_outlives_its_processes_and_leaves_nothing(command, tmp_path):
    process, address = command
    for name in ("models", "page"):
        doomed = part(process, name)
        doomed.kill()
        doomed.wait(PATIENCE_S)
        assert part(process, name).pid != doomed.pid
        assert "gradio" in opened(address)[1]
        limit = time.monotonic() + PATIENCE_S
        while post(address, prompt=PROMPT, seed=3)[0] != 200:
            assert time.monotonic() < limit
    last = [part(process, name) for name in ("models", "page")]
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and "stopped" in said
    assert said.count("ended by signal 9: it is started again") == 2
    assert not any(one.is_running() for one in last)
    assert list((tmp_path / "files").iterdir()) == [] and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_it_answers_the_page_and_nothing_else_of_gradio(command):
    process, address = command
    status, text = opened(address)
    assert status == 200 and "window.gradio_config" in text
    with urllib.request.urlopen(address) as answer:
        assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    for path in ("upload", "mcp/sse", "info", "deep_link", "proxy=http://example.org/x"):
        assert opened(address, f"/gradio_api/{path}")[0] == 404, path
    assert opened(address, "/docs")[0] == opened(address, "/monitoring")[0] == 404
    assert opened(address, f"/gradio_api/file={ROOT}/params.yaml")[0] in (403, 404)
    assert opened(address, "/gradio_api/file=https://example.org/x")[0] == 404
    for one in psutil.Process(process.pid).children(recursive=True):
        far = [link.raddr.ip for link in one.net_connections("inet") if link.raddr]
        assert set(far) <= {"127.0.0.1"}
