"""The text_encoder stage as its command sees it: what it trains, leaves and passes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifacts.artifact import TEXT_WEIGHTS, read_card, weights_hash
from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.sampling import generate, generate_from
from components.training.distributed import World
from components.training.run import run_job
from pipeline.params.sections import load_params
from pipeline.stages import train
from tests.pipeline.tiny_world import TRAIN, write_params
from tests.pipeline.trained_world import EVALUATE, context, run_evaluate, trained_world

STAGE = {
    "start": "base",
    "recipe": {"trains": "text_encoder", "text_learning_rate": 1e-2, "text_clip_weight": 8.0},
    "total_kimg": 0.032,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base artifact, and artifacts/aligned trained from it by the stage's own job."""
    folder = trained_world(tmp_path_factory.mktemp("text_encoder"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANLINE_RUNS_DIR", str(folder / "runs"))
        stage = stage_context(folder, STAGE)
        assert train.nothing_to_do(stage) == ""
        job = train.make_job(stage)
        Path(job.run_dir).mkdir(parents=True)
        run_job(job, World(), lambda record: None, "cpu")
        train._publish(job, stage)
    return folder


def stage_context(folder: Path, section: dict, out: str = "aligned", start: str = "base"):
    path = write_params(folder, text_encoder=section)
    params = load_params(path)
    stage, _ = context(
        {"text_encoder": params.text_encoder, "seed": 1, "cluster": params.cluster},
        stage="text_encoder", key="",
        data=folder / "data" / "train",
        encoders=folder / "artifacts" / "encoders",
        start=folder / "artifacts" / start,
        guidance=None,
        out=folder / "artifacts" / out,
        report=folder / "reports" / "text_encoder.json",
        curve=folder / "reports" / "text_encoder.csv",
    )  # fmt: skip
    return stage


def test_it_leaves_the_same_generator_with_a_text_encoder(world: Path) -> None:
    before, after = (read_card(world / "artifacts" / n) for n in ("base", "aligned"))
    assert after["files"]["generator.safetensors"] == before["files"]["generator.safetensors"]
    assert TEXT_WEIGHTS in after["files"] and TEXT_WEIGHTS not in before["files"]
    assert after["recipe"]["fields"]["trains"] == "text_encoder"
    assert after["parent_sha256"] == before["files"]["generator.safetensors"]
    report = json.loads((world / "reports" / "text_encoder.json").read_text())
    assert report["nimg"] == 32
    assert "loss/text_encoder/clip" in (world / "reports" / "text_encoder.csv").read_text()
    assert (world / "artifacts/aligned/samples.png").is_file()


def test_its_fingerprint_and_that_of_what_grows_from_it_are_their_own(world: Path) -> None:
    base, aligned = (read_card(world / "artifacts" / n) for n in ("base", "aligned"))
    assert weights_hash(base) != weights_hash(aligned)
    again = {**STAGE, "total_kimg": 0.064}
    jobs = [train.make_job(stage_context(world, again, start=n)) for n in ("base", "aligned")]
    assert jobs[0].fingerprint != jobs[1].fingerprint


def test_evaluation_and_release_use_the_trained_encoder(world: Path, tmp_path: Path) -> None:
    release = {}
    for name in ("base", "aligned"):
        write_release(
            tmp_path / name,
            artifact=world / "artifacts" / name,
            encoders=world / "artifacts" / "encoders",
            metrics={},
            samples=world / "artifacts" / "aligned" / "samples.png",
            config=PublishConfig(),
        )
        release[name] = load_release(tmp_path / name)
    prompts, seeds = ["a red circle", "a blue square"], [3, 4]
    images = {n: generate(model, prompts, seeds) for n, (model, _) in release.items()}
    assert not np.array_equal(images["base"], images["aligned"])
    hashes = {card["release"]["content_hash"] for _, card in release.values()}
    assert len(hashes) == 2
    model, _ = release["aligned"]
    condition = model.condition(prompts)
    assert np.array_equal(generate_from(model.generator, condition, seeds), images["aligned"])


def test_evaluation_measures_the_model_with_its_encoder(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    scores = []
    for name in ("base", "aligned"):
        run_evaluate(world, EVALUATE, model=name)
        scores.append(json.loads((world / "artifacts/evaluation/metrics.json").read_text()))
    assert scores[0]["model"]["weights_sha256"] != scores[1]["model"]["weights_sha256"]
    assert scores[0]["clip_score"] != scores[1]["clip_score"]


@pytest.mark.parametrize("reason", ["total_kimg is 0", "the model takes no text"])
def test_with_nothing_to_do_the_artifact_is_passed_on(world: Path, reason: str) -> None:
    section, start = ({**TRAIN, "total_kimg": 0.0}, "base")
    if "text" in reason:
        section, start = STAGE, "unconditional"
        (world / "artifacts" / start).mkdir(exist_ok=True)
        card = json.loads((world / "artifacts/base/card.json").read_text())
        card["shape"] = {"pooled_dim": 0, "token_dim": 0, "num_labels": 0}
        for file in ("generator.safetensors", "metrics.json"):
            content = (world / "artifacts/base" / file).read_bytes()
            (world / "artifacts" / start / file).write_bytes(content)
        (world / "artifacts" / start / "card.json").write_text(json.dumps(card))
    stage = stage_context(world, section, out="passed", start=start)
    train._work(stage)
    given, left = (world / "artifacts" / n for n in (start, "passed"))
    assert read_card(left) == read_card(given)
    report = json.loads((world / "reports" / "text_encoder.json").read_text())
    assert report["passed_on"] == reason
    assert reason in train._plan(stage)["training"]


def test_the_dry_run_knows_sizes_and_the_command_its_name(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    plan = train._plan(stage_context(world, STAGE))
    assert plan["recipe"]["trains"] == "text_encoder" and plan["finished"]
    assert plan["parameters"]["frozen"]["discriminator"] > 0
    assert train.stage_name("text_encoder", ["--data", "x"]) == "text_encoder"


def test_samples_are_drawn_with_the_model_that_trains(world: Path) -> None:
    folder = next(iter((world / "runs").glob("text_encoder-*"))) / "samples"
    drawn = sorted(folder.glob("*.png"))
    assert drawn
    assert all(np.asarray(Image.open(path)).std() > 0 for path in drawn)
    assert drawn[-1].stem == "000000032"
