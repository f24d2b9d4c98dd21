"""What MLflow's rows say: names, the parameters that people compare, the final numbers, trials."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from components.tuning import Search, trial_key
from pipeline.cluster.guardian import Guardian
from pipeline.params.sections import load_params
from pipeline.stages.tune import Plan, _table, _track, trial_name
from pipeline.stages.whole_run import (
    asked_for,
    family_title,
    final_numbers,
    guidance,
    headline,
    open_whole_run,
    run_name,
)
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.tracker import RunIdentity, Tracker

ROOT = Path(__file__).resolve().parents[3]
OFF = TrackingConfig(enabled=False, system_every_s=0.0)


def test_a_run_is_named_by_what_was_asked_and_when(monkeypatch):
    params = load_params(ROOT / "params.yaml")
    monkeypatch.setattr("time.strftime", lambda form: "06 Nov 14:03")
    assert run_name(params) == "shapes 64 px, StyleGAN-T, 6 Nov 14:03"
    params = load_params(ROOT / "presets/projected_gan_few_shot.yaml")
    assert run_name(params).startswith(f"{Path(params.source.path).name} 256 px, Projected GAN, ")
    assert family_title("of_somebody") == "of_somebody"


def test_one_row_has_the_weight_and_what_it_gave():
    params = load_params(ROOT / "params.yaml")
    recipe = {"name": "stylegan_t", "fields": {"clip_weight": 1.5}}
    card = {"recipe": recipe, "resolution_px": 64, "data_content_hash": "ab" * 32}
    asked = asked_for(params, card)
    assert asked["guidance_weight"] == asked["clip_weight"] == 1.5
    assert asked["kimg"] == 24 + 3 + 0.5 and asked["data"] == "ab" * 6
    assert guidance({"name": "projected_gan"}).keys()  # whatever that family can vary
    scores = {
        "judge": {"all": 0.4, "shape": 0.5},
        "frechet_judge": {"before": 9.0, "after": 3.0, "ratio": 1 / 3},
        "seed_variety": 1.1,
        "clip_score": None,
        "cards": {},
    }
    assert headline(scores | {"clip_score": 0.81239}) == {
        "judge": 0.4,
        "shape": 0.5,
        "clip": 0.8124,
        "seeds": 1.1,
        "frechet": 3.0,
        "ratio": 0.3333,
    }
    assert final_numbers(scores) == {
        "judge_all": 0.4,
        "judge_shape": 0.5,
        "seed_variety": 1.1,
        "frechet": 3.0,
        "frechet_ratio": 1 / 3,
    }


def test_a_stage_on_its_own_has_no_row_above_it(monkeypatch):
    monkeypatch.delenv("GANLINE_PIPELINE_RUN", raising=False)
    monkeypatch.setattr("pipeline.cluster.guardian.command_above", lambda: None)
    assert open_whole_run(load_params(ROOT / "params.yaml"), print).identity["key"] == ""


def test_experiments_of_one_worker_of_the_queue_have_rows_of_their_own(tmp_path, monkeypatch):
    """The worker is one command, and runs each experiment in a copy of the project."""
    monkeypatch.delenv("GANLINE_PIPELINE_RUN", raising=False)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    worker = Guardian(pid=1, started=2.0)
    monkeypatch.setattr("pipeline.cluster.guardian.command_above", lambda: worker)
    params = load_params(ROOT / "params.yaml")
    tracking = dataclasses.replace(params.tracking, enabled=False)
    params = dataclasses.replace(params, tracking=tracking)
    keys = []
    for copy in ("tmpone", "tmptwo", "tmpone"):
        folder = tmp_path / ".dvc" / "tmp" / "exps" / copy
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(folder)
        run = open_whole_run(params, print)
        keys.append(run.identity["key"])
        run.close()
    assert keys[0] == keys[2] != keys[1]


@pytest.fixture
def searched(tmp_path: Path, monkeypatch) -> tuple[Plan, list[dict]]:
    """A search of two trials, as their workers leave it; the second failed at once."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    space = {"clip_weight": ("uniform", 0.0, 2.0), "blur_fade_kimg": ("uniform", 0.0, 2.0)}
    rows = []
    for weight in (1.2345, 0.5):
        values = {"clip_weight": weight, "blur_fade_kimg": 0.8}
        rows.append({"key": trial_key(values), "status": "failed", **values})
        folder = tmp_path / "trials" / trial_key(values)
        (folder / "samples").mkdir(parents=True)
        (folder / "values.json").write_text(json.dumps(values))
        os.utime(folder / "values.json", (1000, 1000))
    (folder / "values.json").unlink()  # its worker was killed before it wrote anything
    scores = {"score": 2.0, "frechet": 9.0, "alignment": 0.4, "seed_variety": 0.9}
    rows[1] |= dict.fromkeys(scores)
    rows[0] |= {"status": "finished", **scores}
    folder = tmp_path / "trials" / rows[0]["key"]
    (folder / "rung-0.json").write_text(json.dumps({"kimg": 1.6, **scores}))
    os.utime(folder / "rung-0.json", (1042, 1042))
    for nimg in (800, 1600):
        Image.new("RGB", (4, 4)).save(folder / "samples" / f"{nimg}.png")
    search = Search(
        space=space, first={}, objectives={}, trials=2, concurrent=1, seed=0, clock="kimg",
        limit=1.6,
    )  # fmt: skip
    job = {"recipe": {"name": "stylegan_t"}}
    settings = {"job": job, "folder": str(tmp_path / "trials")}
    return Plan(run_dir=tmp_path, search=search, settings=settings), rows


def test_trials_tell_their_values_times_and_last_sheet(searched, tmp_path: Path):
    plan, rows = searched
    tracker = Tracker(OFF, RunIdentity("tune", "f", "search"), {}, print)
    _track(tracker, plan, rows)
    spool = next((tmp_path / "runs/tracking").glob(f"tune.trial-{rows[0]['key']}*.jsonl"))
    events = [json.loads(line) for line in spool.read_text().splitlines()]
    by_op = {event["op"]: event for event in events}
    assert by_op["run"]["name"] == "clip_weight 1.23, blur_fade_kimg 0.8"
    assert by_op["end"]["time_ms"] - by_op["run"]["time_ms"] == 42_000
    assert by_op["params"]["values"]["guidance_weight"] == "1.2345"
    assert by_op["metrics"]["step"] == 1600 and "kimg" not in by_op["metrics"]["values"]
    assert [event["key"] for event in events if event["op"] == "image"] == ["samples"]
    failed = next((tmp_path / "runs/tracking").glob(f"tune.trial-{rows[1]['key']}*.jsonl"))
    assert json.loads(failed.read_text().splitlines()[-1])["status"] == "FAILED"


def test_the_table_of_trials_begins_with_the_best(searched):
    plan, rows = searched
    lines = _table(rows, list(plan.search.space), rows[0]["key"])
    assert lines[0].split() == [*plan.search.space, "score", "frechet", "alignment", "seed_variety"]
    assert lines[1].split() == ["1.234", "0.8", "2", "9", "0.4", "0.9", "chosen"]
    assert lines[2].split() == ["0.5", "0.8", "-", "-", "-", "-", "failed"]
    assert trial_name({"a": 12.0}) == "a 12"
