"""`make demo`: DVC really runs, the peak of all processes is seen, a second time nothing runs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipeline.commands.demo import tidy
from pipeline.tracking.memory import GIB, PeakMemory

ROOT = Path(__file__).parents[3]
HOLD = """
import subprocess, sys
code = "import time; x = b'1' * (300 * 2**20); print('held', flush=True); time.sleep(3)"
subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
"""
TOY = """
stages:
  filter:
    cmd: python -c "open('reports/filter.json', 'w').write('{}')"
    params: [filter]
    metrics: [{reports/filter.json: {cache: false}}]
  train_base:
    cmd: python work.py
    params: [train_base.batch]
    outs: [model]
"""


def demo(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pipeline.commands.demo"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_the_demo_runs_once_sums_up_and_then_has_nothing_to_do(project):
    (project / "dvc.yaml").write_text(TOY)
    (project / "work.py").write_text("print('training'); open('model', 'w').write('x')")
    start = [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"]
    subprocess.run(start, check=True, timeout=60)
    first = demo(project)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "== train_base\n   training\n" in first.stdout
    assert "2 stages ran in" in first.stdout
    assert (project / "reports/summary.json").exists()
    started = time.monotonic()
    second = demo(project)
    assert time.monotonic() - started < 15
    assert "all is up to date: nothing was run" in second.stdout
    assert "peak memory" in second.stdout
    (project / "work.py").write_text("import sys; print('error: a (b): c'); sys.exit(4)")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["train_base"]["batch"] *= 2
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    third = demo(project)
    assert third.returncode == 4
    assert "   error: a (b): c\n" in third.stdout
    assert third.stderr.strip().endswith("correct it, then run `make demo` again")


SAVING = """
import signal, sys, time

def save(*_):
    time.sleep(2)  # as long as a training may take for it
    open("state", "w").write("whole")
    print("state saved", flush=True)
    sys.exit(7)

signal.signal(signal.SIGTERM, save)
print("training", flush=True)
time.sleep(100)
"""


WAITING = """
import pathlib, time

print("training", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.1)
open("model", "w").write("x")
"""


def begin(project, work, *words):
    """Start a command in a group of its own, and return when its stage trains."""
    (project / "dvc.yaml").write_text(TOY)
    (project / "work.py").write_text(work)
    start = [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"]
    subprocess.run(start, check=True, timeout=60)
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if "training" in line:
            return process
    raise AssertionError(process.communicate())


@pytest.mark.slow
@pytest.mark.row("G4")
def test_sigterm_to_the_group_waits_for_the_stage_and_ends_with_7(project):
    process = begin(project, SAVING, "pipeline.commands.demo")
    os.killpg(process.pid, signal.SIGTERM)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 7, errors
    assert (project / "state").read_text() == "whole" and "   state saved\n" in said
    assert errors == "error: stopped by SIGTERM (make demo): run it again to continue\n"
    assert not (project / "model").exists() and "train_base" not in lock_of(project)


@pytest.mark.slow
@pytest.mark.row("C5")
def test_a_second_repro_at_the_same_time_is_one_line(project):
    process = begin(project, WAITING, "dvc", "repro")
    second = demo(project)
    (project / "go").touch()
    assert second.returncode == 2 and "Traceback" not in second.stdout + second.stderr
    (line,) = second.stderr.splitlines()
    assert line.startswith("error: ") and "another DVC" in line and "wait" in line
    assert process.wait(60) == 0
    assert "train_base" in lock_of(project)


def lock_of(project):
    path = project / "dvc.lock"
    return path.read_text() if path.is_file() else ""


@pytest.mark.slow
def test_a_model_that_misses_a_threshold_still_gets_its_summary(project):
    refusing = {
        "cmd": "python work.py",
        "metrics": [{"reports/publish.json": {"cache": False}}],
    }
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"publish": refusing}}))
    line = "seed_variety is 0.1, wanted at least 0.6"
    (project / "work.py").write_text(
        "import json, sys\n"
        f"report = {{'published': False, 'missed': ['{line}']}}\n"
        "json.dump(report, open('reports/publish.json', 'w'))\n"
        "sys.exit(3)\n"
    )
    start = [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"]
    subprocess.run(start, check=True, timeout=60)
    refused = demo(project)
    assert refused.returncode == 3, refused.stdout + refused.stderr
    assert f"missed         {line}" in refused.stdout and "not champion" in refused.stdout
    assert refused.stderr.strip().startswith("error: not published: 1 missed")
    assert yaml.safe_load((project / "reports/summary.json").read_text())["missed"] == [line]
    # Another error of the same stage is one: nothing is summed up.
    (project / "work.py").write_text("import sys; sys.exit(5)")
    broken = demo(project)
    assert broken.returncode == 5 and "not champion" not in broken.stdout
    assert "stage publish ended with 5" in broken.stderr


def test_memory_of_a_process_that_left_the_tree_is_counted():
    environment = {**os.environ, "GANLINE_DEMO_ID": "mark-of-this-test"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        seen = PeakMemory("GANLINE_DEMO_ID", "mark-of-this-test").sample()
    assert 300 * 2**20 / GIB < seen < 0.6
    assert PeakMemory("GANLINE_DEMO_ID", "another mark").sample() == 0.0


def test_output_of_dvc_is_tidied():
    assert tidy("> python -m pipeline.stages.score --out data/scores") == ""
    assert tidy("Reproducing stage 'x'") == ""
    assert tidy("Updating lock file 'dvc.lock'") == ""
    assert tidy("score: 20,000 rows") == "   score: 20,000 rows"
