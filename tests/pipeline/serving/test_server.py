"""`ganline serve` over loopback with the bundled model: pictures, refusals, many clients."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import serving as benchmark
from components.artifacts.release import load_release
from components.sampling import generate, mix
from models.inference import fast_form
from pipeline.commands import serve
from pipeline.commands.model_places import places_of
from pipeline.serving.web import NOT_KNOWN, NOT_READ
from tests.pipeline.tracking.test_served_model import _free_port

ROOT = Path(__file__).resolve().parents[3]
RELEASE = ROOT / "bundled" / "release"
GRAPH = "stages: {publish: {outs: [artifacts/release]}}"  # nothing is published yet
PROMPT = "a large red ring on a blue background"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start `ganline app` in a folder of its own: it has all that `ganline serve` has."""
    port = _free_port()
    command = [sys.executable, "-m", "pipeline.cli", "app", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "dvc.yaml").write_text(GRAPH)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert f"127.0.0.1:{port}" in process.stdout.readline()
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=20) as answer:
                assert json.load(answer) == {"status": "ok", "waiting": 0}
            break
        except OSError:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.1)
    try:
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        process.stdout.close()
        assert [path.name for path in folder.iterdir()] == ["dvc.yaml"]  # no database, no cache


@pytest.fixture(scope="module")
def model():
    found, _ = load_release(RELEASE)
    fast_form(found.generator, precision="float32", compiled=False)
    return found


def post(address, path="v1/images", content=None, **values):
    sent = json.dumps(values).encode() if content is None else content
    request = urllib.request.Request(f"{address}/{path}", data=sent, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def listed(content: bytes) -> list[np.ndarray]:
    return [pixels(base64.b64decode(one["png_base64"])) for one in json.loads(content)["images"]]


@pytest.mark.slow
def test_pictures_are_those_of_ganline_generate(server, model):
    expected = generate(model, [PROMPT] * 3, [3, 4, 5], 0.7).astype(int)
    status, png = post(server, prompt=PROMPT, seed=3, truncation=0.7)
    assert status == 200 and np.abs(pixels(png) - expected[0]).max() <= 1
    status, content = post(server, prompt=PROMPT, seed=3, n=3, truncation=0.7)
    found = listed(content)
    assert len(found) == 3 and np.abs(np.stack(found) - expected).max() <= 1
    assert json.loads(content)["images"][1] | {"png_base64": ""} == {
        "prompt": PROMPT, "seed": 4, "truncation": 0.7, "png_base64": "",
    }  # fmt: skip
    status, content = post(server, "v1/mix", prompt=PROMPT, seed=3, style_seeds=[4], layers=[0])
    mixed = mix(model, [PROMPT], [3], [PROMPT], [4], (0,)).astype(int)
    assert status == 200 and np.abs(listed(content)[0] - mixed[0]).max() <= 1
    status, film = post(server, "v1/walk", prompts=[PROMPT, "a small blue disc"], frames=4)
    assert status == 200 and film[4:8] == b"ftyp"


@pytest.mark.slow
def test_a_client_is_told_what_of_its_prompt_was_not_read(server, model):
    long = " ".join([PROMPT] * 8)
    (surplus,) = model.surplus([long])
    assert surplus > 0

    def told(path, **values):
        request = urllib.request.Request(f"{server}/{path}", data=json.dumps(values).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert answer.headers[NOT_KNOWN] is None
            return answer.headers[NOT_READ], answer.read()

    assert told("v1/images", prompt=long)[0] == str(surplus)
    header, content = told("v1/images", prompts=[PROMPT, long])
    images = json.loads(content)["images"]
    assert [image.get("tokens_not_read", 0) for image in images] == [0, surplus]
    assert header == str(surplus)
    assert told("v1/images", prompts=[PROMPT, PROMPT])[0] is None
    asked = {"prompt": PROMPT, "style": long, "style_seeds": [1], "layers": [0]}
    assert told("v1/mix", **asked)[0] == str(surplus)
    assert told("v1/walk", prompts=[PROMPT, long], frames=4)[0] == str(surplus)


@pytest.mark.slow
def test_a_client_is_told_which_words_the_model_never_learned(server):
    strange = "a purple elephant in a hat"

    def told(path, **values):
        request = urllib.request.Request(f"{server}/{path}", data=json.dumps(values).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert answer.headers[NOT_READ] is None
            return answer.headers[NOT_KNOWN], answer.read()

    assert told("v1/images", prompt=strange)[0] == "2"
    count, content = told("v1/images", prompts=[PROMPT, strange])
    images = json.loads(content)["images"]
    assert [image.get("words_not_known") for image in images] == [None, ["elephant", "hat"]]
    assert count == "2"
    asked = {"prompt": PROMPT, "style": strange, "style_seeds": [1], "layers": [0]}
    assert told("v1/mix", **asked)[0] == "2"
    with urllib.request.urlopen(f"{server}/v1/model", timeout=60) as answer:
        facts = json.load(answer)
    assert "elephant" not in facts["words"] and {"ring", "purple"} <= set(facts["words"])
    assert facts["folder"] == str(RELEASE)


@pytest.mark.slow
def test_wrong_requests_are_one_line_and_harm_nothing(server):
    for values, status, says in (
        ({"prompt": PROMPT, "sedes": [1]}, 400, "unknown key 'sedes'"),
        ({"prompt": ""}, 400, "prompt is empty"),
        ({"prompt": PROMPT, "n": 4, "format": "png"}, 400, "4 images as one PNG"),
        ({"content": b"x" * (2**20 + 1)}, 413, "longer than"),
        ({"path": "v1/images?seed=3", "prompt": PROMPT}, 400, "unknown parameter 'seed'"),
        ({"path": "v1/images?model=other", "prompt": PROMPT}, 400, "no model 'other'"),
        ({"path": "v1/mix", "prompt": PROMPT, "style_seeds": [1], "layers": [99]}, 400, "layers"),
    ):
        code, answer = post(server, **values)
        assert (code, says in answer["error"]) == (status, True), answer
    with urllib.request.urlopen(f"{server}/v1/model", timeout=60) as answer:
        facts = json.load(answer)
    assert facts["takes"] == "prompt" and facts["resolution_px"] == 64 and facts["layers"] > 1


@pytest.mark.slow
def test_fifty_clients_at_once_get_their_own_pictures(server, model):
    seeds = list(range(100))
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda seed: post(server, prompt=PROMPT, seed=seed), seeds))
    assert [status for status, _ in answers] == [200] * 100
    expected = generate(model, [PROMPT] * 100, seeds).astype(int)
    drawn = np.stack([pixels(png) for _, png in answers])
    assert np.abs(drawn - expected).max() <= 1


@pytest.mark.slow
def test_the_benchmark_counts_images_and_refusals(server, capsys):
    port = server.rpartition(":")[2]
    words = ["--port", port, "--clients", "3", "--images", "2", "--seconds", "0.5"]
    assert benchmark.main(words) == 0
    assert "statuses {200: " in capsys.readouterr().out
    found = benchmark.measure(int(port), 1, 10_000, 0.01)  # more than one request may ask for
    assert set(found["statuses"]) == {400} and found["images_per_s"] == 0


@pytest.mark.slow
def test_the_page_asks_nobody_else(server):
    with urllib.request.urlopen(f"{server}/", timeout=60) as answer:
        policy, text = answer.headers["Content-Security-Policy"], answer.read().decode()
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*?\b(?:src|href)="([^"]*)"', text)
    assert len(loaded) > 2
    assert [one for one in loaded if "//" in one and not one.startswith(server)] == []


def test_what_cannot_be_served_is_said_at_once(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    assert serve.main(["nowhere"]) == 5
    assert "there is no model (nowhere)" in capfd.readouterr().err
    assert serve.main(["--port", "99999"]) == 2 and serve.main(["--timeout", "0"]) == 2
    assert "port is 99999 (--port)" in capfd.readouterr().err
    monkeypatch.setattr(serve, "port_is_free", lambda port: False)
    assert serve.main(["--port", "5001"]) == 2
    assert "port 5001 is taken (--port)" in capfd.readouterr().err


def test_the_picker_lists_what_can_be_drawn_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    base = tmp_path / "artifacts" / "base"  # takes text and has no encoder of its own
    aligned, broken = tmp_path / "artifacts" / "aligned", tmp_path / "artifacts" / "broken"
    for folder in (base, aligned / "text_encoder", broken):
        folder.mkdir(parents=True)
    for folder in (base, aligned):
        (folder / "card.json").write_text(json.dumps({"shape": {"pooled_dim": 8}}))
    (broken / "card.json").write_text("[]")
    places = places_of("", Path("params.yaml"), everything=True)
    assert [title for title, _ in places.values()] == ["bundled model", "artifact aligned"]
    assert places["bundled"][1]() == RELEASE
    assert list(places_of("x", Path("params.yaml"), everything=False)) == ["x"]
