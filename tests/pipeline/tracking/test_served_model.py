"""The served model: in process against hostile requests, and as a real server on loopback."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.sampling import generate
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.tracker import open_stage_tracker
from tests.pipeline.trained_world import run_evaluate, run_publish, trained_world

PROMPT = "a red circle"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_world(tmp_path_factory.mktemp("served"))
    Image.new("RGB", (8, 8)).save(folder / "samples.png")
    write_release(
        folder / "release",
        artifact=folder / "artifacts" / "base",
        encoders=folder / "artifacts" / "encoders",
        metrics={},
        samples=folder / "samples.png",
        config=PublishConfig(images_limit=4, prompt_chars_limit=100),
    )
    return folder


@pytest.fixture(scope="module")
def served(world: Path) -> Any:
    from pipeline.tracking.served_model import ServedModel

    model = ServedModel()
    model.load_context(SimpleNamespace(artifacts={"release": str(world / "release")}))
    return model


def _pixels(encoded: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        assert image.format == "PNG"
        return np.asarray(image)


@pytest.mark.row("F3")
def test_it_draws_what_the_release_draws(world: Path, served) -> None:
    import pandas

    table = pandas.DataFrame({"prompt": [PROMPT, "a blue square"]})
    answer = served.predict(None, table, {"seed": 5, "n": 2, "truncation": 0.5})
    assert answer["seed"].tolist() == [5, 6, 5, 6]
    assert answer["prompt"].tolist() == [PROMPT] * 2 + ["a blue square"] * 2
    model, _ = load_release(world / "release")
    expected = generate(model, answer["prompt"].tolist(), answer["seed"].tolist(), 0.5)
    for encoded, image in zip(answer["image_png_base64"], expected, strict=True):
        assert np.abs(_pixels(encoded).astype(int) - image).max() <= 1


HOSTILE = [
    "", " ", "\0", "x" * 101, "x" * 100_000, None, 3, 1.5, float("nan"), True, b"a", ["a"],
    {"a": 1}, -1, 0, 2**70, 10_000, 1e9, float("inf"), "3", "\ud800", PROMPT, 1, 0.5,
]  # fmt: skip


@pytest.mark.row("F1")
def test_a_thousand_random_requests_are_answered_or_refused_by_name(served) -> None:
    import pandas
    from mlflow.exceptions import MlflowException

    rng = random.Random(0)
    answered = 0
    for _ in range(1000):
        column = rng.choice(["prompt"] * 9 + ["prompts"])
        prompts = [rng.choice([PROMPT, *HOSTILE]) for _ in range(rng.choice([0, 1, 1, 1, 2, 5]))]
        table = pandas.DataFrame({column: pandas.Series(prompts, dtype=object)})
        params = {
            name: rng.choice([1, *HOSTILE])
            for name in ("seed", "n", "truncation")
            if rng.random() < 0.5
        }
        try:
            answer = served.predict(None, table, params)
        except MlflowException as error:
            assert error.get_http_status_code() == 400, error
            assert any(f"({name})" in str(error) for name in ("prompt", "seed", "n", "truncation"))
        else:
            answered += 1
            assert 1 <= len(answer) <= 4
    assert 5 < answered < 500


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _request(port: int, body: bytes, content_type: str = "application/json") -> tuple[int, bytes]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": content_type}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture(scope="module")
def server(world: Path, tmp_path_factory: pytest.TempPathFactory):
    """Publish, then `mlflow models serve` the champion, in a folder that holds none of our code."""
    runs = world / "runs"
    tracking = TrackingConfig(system_every_s=0.0, flush_timeout_s=60.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANLINE_RUNS_DIR", str(runs))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run_evaluate(world)
        tracker = open_stage_tracker(
            tracking, stage="publish", fingerprint="1" * 12, config={}, tags={}, say=print
        )
        config = PublishConfig(
            model_name="tiny", images_limit=4, prompt_chars_limit=100, least_held_out=16
        )
        run_publish(world, config, tracking=tracking, tracker=tracker)
        tracker.close()
    port = _free_port()
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        "MLFLOW_TRACKING_URI": f"sqlite:///{runs}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/tiny@champion"]
    log = (runs / "serve.log").open("w")
    process = subprocess.Popen(
        [*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)],
        cwd=tmp_path_factory.mktemp("elsewhere"), env=environment, stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    try:
        _wait(port, process, runs / "serve.log")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(port: int, process: subprocess.Popen, log: Path, limit_s: float = 300) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server did not come up:\n{log.read_text()[-3000:]}")


def _body(prompts: list[Any], **params: Any) -> bytes:
    rows = [{"prompt": prompt} for prompt in prompts]
    return json.dumps({"dataframe_records": rows, "params": params}).encode()


@pytest.mark.slow
def test_the_champion_answers_and_survives_bad_requests(world: Path, server: int) -> None:
    status, answer = _request(server, _body([PROMPT], seed=3, n=2, truncation=0.7))
    assert status == 200, answer
    rows = json.loads(answer)["predictions"]
    assert [row["seed"] for row in rows] == [3, 4]
    model, _ = load_release(world / "artifacts" / "release")
    expected = generate(model, [PROMPT] * 2, [3, 4], 0.7)
    assert np.abs(_pixels(rows[1]["image_png_base64"]).astype(int) - expected[1]).max() <= 1

    bad: list[tuple[bytes, str]] = [
        (_body([""]), "prompt is empty"),
        (_body(["x" * 100_000]), "100000 characters"),
        (_body(["a\0"]), "NUL"),
        (_body([PROMPT], n=0), "n is 0"),
        (_body([PROMPT], n=10_000), "n is 10000"),
        (_body([PROMPT] * 5), "5 prompts"),
        (_body([PROMPT], seed=-1), "seed is -1"),
        (_body([PROMPT], seed=2**70), "seed"),
        (_body([PROMPT], seed="x"), "seed"),
        (_body([PROMPT], truncation=3), "truncation is 3.0"),
        (_body([PROMPT], truncation=float("nan")), "truncation"),
        (_body([3]), ""),
        (_body([None]), ""),
        (_body([]), ""),
        (json.dumps({"dataframe_records": [{"text": PROMPT}]}).encode(), "prompt"),
        (b"not json", ""),
        (b"", ""),
        (b"{}", ""),
    ]
    for body, says in bad:
        started = time.monotonic()
        status, answer = _request(server, body)
        assert 400 <= status < 500, (status, body[:80], answer[:500])
        assert says in answer.decode(), (body[:80], answer[:300])
        assert time.monotonic() - started < 5
    assert _request(server, b"a", "text/strange")[0] == 415
    again = _request(server, _body([PROMPT], seed=3, n=2, truncation=0.7))
    assert again[0] == 200
    assert json.loads(again[1])["predictions"] == rows, "identical bytes after all of that"
