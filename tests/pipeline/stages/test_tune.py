"""The tune command: a search that is killed and continued, its outputs, and no search at all."""

from __future__ import annotations

import csv
import functools
import json
import random
import time
from pathlib import Path

import psutil
import pytest

from components.tuning import TuneConfig, scalar_score
from tests.fuzz.mutations import count
from tests.pipeline import tiny_world
from tests.pipeline.command import checkout, kill, run, start, wait_for, worker_of

WORDS = ["pipeline.stages.tune", "--data", "data/train", "--encoders", "artifacts/encoders"]
WORDS += ["--out", "artifacts/tune", "--report", "reports/tune.json"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return tiny_world.write_world(checkout(tmp_path_factory.mktemp("world")))


def set_params(world: Path, **tune) -> None:
    train = {"total_kimg": 50.0, "report_every_kimg": 0.064}
    tiny_world.write_params(world, tune=tune, train_base=train)


def outputs(world: Path) -> tuple[dict, list[dict], list[dict], dict]:
    folder = world / "artifacts/tune"
    guidance = json.loads((folder / "guidance.json").read_text())
    with (folder / "trials.csv").open() as stream:
        trials = list(csv.DictReader(stream))
    front = json.loads((folder / "pareto.json").read_text())
    assert (folder / "tune.png").read_bytes().startswith(b"\x89PNG")
    return guidance, trials, front, json.loads((world / "reports/tune.json").read_text())


def test_no_trials_writes_the_defaults_without_ray(world):
    set_params(world, trials=0)
    (world / "ray.py").write_text("raise SystemExit(99)")
    code, log = run(world, *WORDS)
    (world / "ray.py").unlink()
    assert code == 0, log
    guidance, trials, front, _ = outputs(world)
    assert guidance["fields"] == {} and trials == [] and front == []


@pytest.mark.row("A16")
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_killed_search_goes_on_and_repeats_no_finished_trial(world):
    short = {"kimg": 0.512, "rungs": 1, "num_images": 16, "concurrent": 1, "min_gain": 0.0}
    set_params(world, trials=3, search="pareto", **short)
    command = start(world, *WORDS)
    wait_for(lambda: list(world.glob("runs/tune-*/trials/*/rung-0.json")), command)
    kill(command.pid)
    command.wait()
    done = {p: p.stat().st_mtime_ns for p in world.glob("runs/tune-*/trials/*/rung-0.json")}
    assert 1 <= len(done) < 3

    code, log = run(world, *WORDS)
    assert code == 0, log
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items())
    guidance, trials, front, report = outputs(world)
    assert len(trials) == report["finished"] == 3 and report["failed"] == 0
    own = {"clip_weight": 1.0, "blur_fade_kimg": 1.0}  # The recipe's 0.1 is below the range.
    assert any(all(float(t[name]) == value for name, value in own.items()) for t in trials)
    assert len({t["clip_weight"] for t in trials}) == 3
    for trial in trials:
        scores = {name: float(trial[name]) for name in ("frechet", "alignment", "seed_variety")}
        assert scores["seed_variety"] >= 0
        assert float(trial["score"]) == pytest.approx(scalar_score(scores, TuneConfig()))
    assert report["seed_variety"] == guidance["seed_variety"]
    best = min(trials, key=lambda trial: float(trial["score"]))
    assert guidance["chosen"] == best["key"] and guidance["score"] == float(best["score"])
    assert best["key"] in [trial["key"] for trial in front]

    # Finished: the same command only writes its outputs again.
    (world / "ray.py").write_text("raise SystemExit(99)")
    code, log = run(world, *WORDS)
    (world / "ray.py").unlink()
    assert code == 0 and "is finished" in log and outputs(world)[0] == guidance


@pytest.mark.row("A16")
@pytest.mark.fuzz
@pytest.mark.timeout(3_000)
def test_six_kills_of_a_search_change_no_answer(tmp_path):
    """The command and a trial's process in turn, at random moments."""
    search = {"trials": 6, "search": "pareto", "kimg": 0.192, "rungs": 2, "num_images": 8}
    answers, killed, dice = [], 0, random.Random(17)
    for name, kills in (("whole", 0), ("killed", count(6))):
        (tmp_path / name).mkdir()
        world = tiny_world.write_world(checkout(tmp_path / name))
        set_params(world, concurrent=1, min_gain=0.0, **search)
        command = start(world, *WORDS)
        while killed < kills:
            wait_for(functools.partial(living_trial, world), command)
            time.sleep(dice.uniform(0.0, 1.5))
            if killed % 2 and (pid := living_trial(world)):
                kill(pid)
            elif killed % 2 == 0 and command.poll() is None:
                kill(command.pid)
                command.wait()
                command = start(world, *WORDS)
            else:
                continue
            killed += 1
        assert command.wait(900) == 0, command.said.read_text()
        guidance, trials, front, report = outputs(world)
        rows = sorted(({k: v for k, v in t.items() if k != "seconds"} for t in trials), key=str)
        assert (report["finished"], report["failed"]) == (6, 0)
        answers.append((guidance, rows, sorted(trial["key"] for trial in front)))
    assert killed == count(6) and answers[0] == answers[1]


def living_trial(world: Path) -> int:
    """Return the process of a trial that trains now, 0 without one."""
    workers = map(worker_of, world.glob("runs/tune-*/trials/*"))
    return next((pid for pid in workers if pid and psutil.pid_exists(pid)), 0)
