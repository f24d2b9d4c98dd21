"""The evaluate stage on real (tiny, random) networks and real files."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image

from components.errors import ConfigError
from pipeline.evaluate import flat_numbers, main
from tests.pipeline.trained_world import EVALUATE, run_evaluate, trained_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_world(tmp_path_factory.mktemp("evaluate"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANLINE_RUNS_DIR", str(folder / "runs"))
        run_evaluate(folder)
    return folder


def test_the_report_names_nets_and_counts(world: Path) -> None:
    short = json.loads((world / "reports/evaluation.json").read_text())
    report = json.loads((world / "artifacts/evaluation/metrics.json").read_text())
    assert short == {k: v for k, v in report.items() if k not in ("cards", "model")}
    assert report["judge"] is None, "captions of this data name no four attributes"
    # Before and after are both untrained here: neither is far from the other.
    assert report["frechet_dino"]["after"] > 0
    assert 0.2 < report["frechet_dino"]["ratio"] < 5
    assert -1 <= report["clip_score"] <= 1
    assert report["filter_truth"] is None
    assert report["seconds_per_image"] > 0
    for metric in ("frechet_dino", "kernel_dino", "precision", "clip_score"):
        card = report["cards"][metric]
        assert len(card["net_sha256"]) == 64
        assert card["num_fake"] == 20
        assert card["resizer"] == "area to 16 px"
    assert report["cards"]["frechet_dino"]["num_real"] == 16
    assert report["cards"]["frechet_dino"]["note"], "16 images, 16 features: low rank"
    assert "took part in the training" in report["cards"]["clip_score"]["note"]


def test_sheets_and_curve_are_written(world: Path) -> None:
    out = world / "artifacts" / "evaluation"
    for name in ("samples.png", "reals.png", "truncation.png"):
        with Image.open(out / name) as image:
            assert min(image.size) > 50, name
    rows = list(csv.DictReader((world / "reports" / "truncation.csv").open()))
    assert [row["truncation"] for row in rows] == ["0.0", "1.0"]
    assert float(rows[0]["frechet_dino"]) > 0
    assert rows[0]["judge_all"] == ""


def test_the_same_artifact_scores_the_same_twice(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "other_runs"))  # no cache from before
    first = json.loads((world / "reports/evaluation.json").read_text())
    run_evaluate(world)
    second = json.loads((world / "reports/evaluation.json").read_text())
    for report in (first, second):
        del report["seconds_per_image"]
    assert first == second


def test_another_batch_scores_the_same(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "third_runs"))
    first = flat_numbers(json.loads((world / "reports/evaluation.json").read_text()))
    run_evaluate(world, dataclasses.replace(EVALUATE, batch=1))
    second = flat_numbers(json.loads((world / "reports/evaluation.json").read_text()))
    for name, value in first.items():
        if name != "seconds_per_image":
            assert second[name] == pytest.approx(value, abs=1e-3), name


def test_a_judge_that_is_there_gives_the_distance_its_name(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    run_evaluate(world, dataclasses.replace(EVALUATE, feature_role="judge"))
    report = json.loads((world / "reports/evaluation.json").read_text())
    assert set(report["frechet_judge"]) == {"before", "after", "ratio"}
    run_evaluate(world)


def test_an_absent_encoder_is_named(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    with pytest.raises(ConfigError, match=r"evaluate\.feature_role.*"):
        run_evaluate(world, dataclasses.replace(EVALUATE, feature_role="classifier"))


def test_help_needs_no_torch(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "--curve" in capsys.readouterr().out
