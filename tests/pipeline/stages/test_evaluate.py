"""The evaluate stage on real (tiny, random) networks and real files."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components.artifacts.artifact import load_generator
from components.data.batches import BatchSource
from components.errors import ConfigError
from components.evaluation.features import held_out
from components.pictures.sheets import GAP_PX, MARGIN_PX, image_grid
from components.sampling import generate_from, to_uint8
from models.features import build_feature_net, read_card, save_feature_net
from models.features.inception import InceptionNet
from models.interfaces import Condition
from pipeline.stages.evaluate import BESIDE, flat_numbers, main
from tests.pipeline.params.params_example import valid, wrong_keys
from tests.pipeline.trained_world import EVALUATE, run_evaluate, trained_world

MEMORISED = ("memorised", "memorised_pixels", "memorised_held_out")


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
    assert short == {k: v for k, v in report.items() if k not in BESIDE}
    assert report["judge"] is None, "captions of this data name no four attributes"
    assert set(report["not_measured"]) == {"judge", *MEMORISED}
    assert "16 held-out images say too little" in report["not_measured"]["memorised"]
    # Before and after are both untrained here: neither is far from the other.
    assert report["frechet_dino"]["after"] > 0
    assert 0.2 < report["frechet_dino"]["ratio"] < 5
    assert -1 <= report["clip_score"] <= 1
    assert report["filter_truth"] is None
    assert not any("second" in name for name in report)  # the same model gives the same bytes
    headline = json.loads((world / "reports/metrics.json").read_text())
    assert len(headline) <= 12 and headline["frechet"] == round(report["frechet_dino"]["after"], 4)
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
    distances = [row for row in rows if row["series"] == "frechet_dino"]
    assert [row["truncation"] for row in distances] == ["0.0", "1.0"]
    assert min(float(row["value"]) for row in distances) > 0
    assert "judge_all" not in {row["series"] for row in rows}  # there is no judge


def tiles(sheet: Path, side_px: int, column: int) -> list[np.ndarray]:
    """Return all windows of a column of a sheet, at a sixth of its size."""
    left = MARGIN_PX + column * (6 * side_px + GAP_PX)
    pixels = np.asarray(Image.open(sheet))[:, left : left + 6 * side_px]
    return [pixels[y : y + 6 * side_px : 6, ::6] for y in range(len(pixels) - 6 * side_px + 1)]


def test_the_sheet_of_nearest_images_shows_samples_above_training_images(
    world: Path, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("components.evaluation.memorisation.FEWEST", 16)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    shutil.copytree(world / "data", tmp_path / "data")
    shutil.copytree(world / "artifacts", tmp_path / "artifacts")
    run_evaluate(tmp_path)
    report = json.loads((tmp_path / "reports/evaluation.json").read_text())
    assert 0 <= report["memorised"] <= 1 and 0 <= report["memorised_pixels"] <= 1
    assert report["memorised_held_out"] >= 1 / 16
    sheet = tmp_path / "artifacts/evaluation/memorised.png"
    source = BatchSource(tmp_path / "data/train", "train", 16, EVALUATE.seed)
    real = to_uint8(source.atom(0, source.num_rows).image_NCHW)
    shown = tiles(sheet, 16, 0)
    found = [y for y, tile in enumerate(shown) if any(np.array_equal(tile, one) for one in real)]
    starts = [y for y in found if y - 1 not in found]  # each pixel is a square of 6
    assert len(starts) == 2 and starts[0] > 100  # below the sample: by features, and by pixels

    card = json.loads((tmp_path / "artifacts/base/card.json").read_text())
    card["data_content_hash"] = "0" * 64  # trained on other data than these
    (tmp_path / "artifacts/base/card.json").write_text(json.dumps(card))
    run_evaluate(tmp_path)
    told = json.loads((tmp_path / "artifacts/evaluation/metrics.json").read_text())
    assert told["memorised"] is None and "not at hand" in told["not_measured"]["memorised"]


@pytest.mark.row("E6")
def test_the_same_artifact_scores_the_same_twice(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "other_runs"))  # no cache from before
    first = json.loads((world / "reports/evaluation.json").read_text())
    run_evaluate(world)
    second = json.loads((world / "reports/evaluation.json").read_text())
    assert first == second


@pytest.mark.row("E3")
def test_another_batch_scores_the_same(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "third_runs"))
    first = flat_numbers(json.loads((world / "reports/evaluation.json").read_text()))
    run_evaluate(world, dataclasses.replace(EVALUATE, batch=1))
    second = flat_numbers(json.loads((world / "reports/evaluation.json").read_text()))
    for name, value in first.items():
        assert second[name] == pytest.approx(value, abs=1e-3), name


def test_a_judge_that_is_there_gives_the_distance_its_name(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    run_evaluate(world, dataclasses.replace(EVALUATE, feature_role="judge"))
    report = json.loads((world / "reports/evaluation.json").read_text())
    assert set(report["frechet_judge"]) == {"before", "after", "ratio", "training"}
    run_evaluate(world)


def test_a_scorer_that_guided_nothing_takes_the_clip_score(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    encoders = world / "artifacts" / "encoders"
    guided = json.loads((world / "artifacts/evaluation/metrics.json").read_text())
    torch.manual_seed(7)
    scorer = build_feature_net(read_card(encoders / "clip"))
    card = save_feature_net(encoders / "scorer", scorer, role="scorer", source="random")
    try:
        run_evaluate(world)
    finally:
        shutil.rmtree(encoders / "scorer")
    report = json.loads((world / "artifacts/evaluation/metrics.json").read_text())
    assert report["cards"]["clip_score"]["net_sha256"] == card.sha256
    assert report["cards"]["clip_score"]["net"] == "scorer"
    assert "took part" not in report["cards"]["clip_score"]["note"]
    assert report["clip_score"] != guided["clip_score"]
    assert report["frechet_dino"] == guided["frechet_dino"], "the rest is as before"
    run_evaluate(world)


def test_inception_from_its_file_gives_fid_and_kid(world: Path, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    torch.manual_seed(0)
    torch.save(InceptionNet().network.state_dict(), tmp_path / "inception.pth")
    few = {"num_prompts": 4, "num_fake": 4, "num_real": 4, "num_curve": 2, "truncations": (1.0,)}
    fid = dataclasses.replace(
        EVALUATE, feature_role="inception", inception_file=str(tmp_path / "inception.pth"), **few
    )
    run_evaluate(world, fid)
    report = json.loads((world / "artifacts/evaluation/metrics.json").read_text())
    assert set(report["fid"]) == {"before", "after", "ratio", "training"}
    assert "kid" in report
    assert not [name for name in report if name.startswith(("frechet_", "kernel_"))]
    assert report["cards"]["fid"]["resizer"] == "bilinear of TensorFlow 1 to 299 px"
    assert "not the published weights" in report["cards"]["fid"]["note"]
    assert "fid_at_nearest" in report["truncation"]
    run_evaluate(world)


def test_a_model_without_text_is_measured_without_text(
    world: Path, monkeypatch, tmp_path_factory
) -> None:
    other = trained_world(tmp_path_factory.mktemp("no_text"), text=False)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(other / "runs"))
    said = run_evaluate(other)
    report = json.loads((other / "artifacts/evaluation/metrics.json").read_text())
    reason = "the model takes no text"
    told = {k: why for k, why in report["not_measured"].items() if k not in MEMORISED}
    assert told == {
        "judge": reason, "clip_score": reason, "prompt_sensitivity": reason,
    }  # fmt: skip
    assert f"evaluate: clip_score not measured: {reason}" in said
    assert report["clip_score"] is None
    assert report["frechet_dino"]["after"] > 0
    assert report["precision"] is not None
    generator, _ = load_generator(other / "artifacts/base")
    rows, columns = EVALUATE.sheet_prompts, EVALUATE.sheet_seeds
    drawn = generate_from(generator, Condition(), range(rows * columns))  # a seed for each image
    with Image.open(other / "artifacts/evaluation/samples.png") as sheet:
        assert sheet.tobytes() == image_grid(drawn, columns).tobytes()


def test_a_model_without_a_judge_names_a_caption_to_type(world: Path, monkeypatch) -> None:
    """The judge knows made-up shapes, whose prompt stands in the README; others are the user's."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    details, judge = world / "artifacts/evaluation/metrics.json", world / "artifacts/encoders/judge"
    assert "prompt" not in json.loads(details.read_text())["model"]
    judge.rename(world / "away")
    try:
        run_evaluate(world)
        prompt = json.loads(details.read_text())["model"]["prompt"]
    finally:
        (world / "away").rename(judge)
    run_evaluate(world)
    (rows,) = held_out(BatchSource(world / "data/train", "heldout", 16, 1), 8, 8)
    assert prompt in rows.captions


def test_an_absent_encoder_is_named(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    with pytest.raises(ConfigError, match=r"evaluate\.feature_role.*"):
        run_evaluate(world, dataclasses.replace(EVALUATE, feature_role="classifier"))


def test_help_needs_no_torch(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "--curve" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("role", "file", "said"),
    [
        ("judge", "weights.pth", "allowed: '' unless feature_role is inception"),
        ("inception", "", "allowed: a file, for feature_role inception"),
    ],
)
def test_inception_and_its_file_come_together(role, file, said):
    values = valid()
    values["evaluate"] |= {"feature_role": role, "inception_file": file}
    assert said in wrong_keys(values)["evaluate.inception_file"]
    values["evaluate"] |= {"feature_role": "inception", "inception_file": "weights.pth"}
    assert wrong_keys(values) == {}
