"""doctor and ui: they say what is there, and what to do when it is not."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.parse import unquote

import pytest

from pipeline.commands import doctor, ui

ROOT = Path(__file__).parents[3]


def test_doctor_reports_every_subject(project, capsys, monkeypatch):
    monkeypatch.setattr(doctor.subprocess, "run", lambda *a, **k: type("R", (), {"returncode": 1}))
    monkeypatch.setattr(doctor, "git_commit", lambda: "")
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    subjects = {line.split()[1] for line in lines}
    assert {"python", "torch", "ray", "gpu", "disk", "memory", "params", "git", "dvc"} <= subjects
    assert {line.split()[0] for line in lines} <= {"ok", "note"}


def test_doctor_fails_on_what_will_not_work(project, capsys, monkeypatch):
    monkeypatch.setattr(
        doctor.subprocess, "run", lambda *a, **k: type("R", (), {"returncode": 255, "stdout": ""})
    )
    monkeypatch.setattr(doctor, "PACKAGES", ["torch", "no-such-package"])
    (project / "params.yaml").write_text("sead: 1\n")
    assert doctor.main([]) == 1
    out = capsys.readouterr().out
    assert "no-such-package  not installed: run `make setup`" in out
    assert "fail  params           params.yaml:1: sead: unknown key; did you mean seed?" in out
    assert "fail  dvc" in out


def test_doctor_names_the_encoders_that_are_there(project):
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(text + "  encoders:\n    cmd: x\n    outs: [nets]\n")
    (note,) = doctor._encoders(Path("params.yaml"))
    assert note.state == "note"
    (project / "nets/clip").mkdir(parents=True)
    (project / "nets/clip/card.json").write_text("{}")
    assert list(doctor._encoders(Path("params.yaml"))) == [
        doctor.Finding("ok", "encoders", "clip in nets")
    ]


def test_links_lead_to_the_comparison():
    lines = ui.links("http://127.0.0.1:5055", {"ganline": "1"}, {"ganline": ["a", "b"]})
    opened = "/#/experiments/1/runs?compareRunsMode=CHART&workflowType=machine_learning"
    assert any(line.endswith(f"{opened}&viewStateShareKey=ganline") for line in lines)
    compared = next(line for line in lines if "compare-runs" in line)
    assert unquote(compared).endswith(
        '/#/compare-runs?runs=["a","b"]&experiments=["1"]&workflowType=machine_learning'
    )
    assert not any("compare-runs" in x for x in ui.links("http://x", {"e": "1"}, {"e": ["a"]}))


def test_a_taken_port_is_seen():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not ui.port_is_free(taken.getsockname()[1])
        port = taken.getsockname()[1]
    assert ui.port_is_free(port)


@pytest.mark.slow
def test_ui_serves_the_runs_and_stops(project):
    from pipeline.tracking.config import TrackingConfig
    from pipeline.tracking.tracker import open_stage_tracker

    config = TrackingConfig(system_every_s=0.0)
    for stage in ("pipeline", "pipeline"):
        tracker = open_stage_tracker(
            config, stage=stage, fingerprint="ab", config={}, tags={"stage": stage}, say=print
        )
        tracker.log_metrics({"loss": 1.0}, step=1)
        tracker.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.commands.ui", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(360, process.terminate)
    watchdog.start()
    try:
        lines = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "ended before it was up"
        compared = next(line for line in lines if "compare-runs" in line)
        ids = json.loads(unquote(compared.split("runs=")[1].split("&")[0]))
        assert len(ids) == 2
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get?run_id={ids[0]}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            metrics = json.load(answer)["run"]["data"]["metrics"]
        assert [m["value"] for m in metrics if m["key"] == "loss"] == [1.0]
        process.terminate()
        assert process.wait(timeout=30) in (0, 7)
    finally:
        watchdog.cancel()
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()
