"""An upsampler trained alone, on pictures without captions: through the loop, evaluate and publish,
then on a picture from elsewhere.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.artifacts.artifact import load_generator, read_card
from components.artifacts.frozen_nets import ABSENT
from components.artifacts.publishing import PublishConfig
from components.data.batches import BatchSource
from components.data.shards import read_manifest, write_manifest
from components.sampling import generate_from
from components.training.distributed import World
from components.training.job import TrainingJob
from components.training.run import run_job
from models.gigagan.small import SMALL
from pipeline.commands.generate import main as generate
from pipeline.commands.upscale import main as upscale
from tests.pipeline.tiny_world import SIDE, TRAIN, write_world
from tests.pipeline.trained_world import run_evaluate, run_publish

ALONE: dict[str, Any] = {
    "name": "gigagan",
    **SMALL,
    "parts": "upsampler",
    "base_px": SIDE // 2,
    "words": "none",
    "cross_attention": False,
    "up_text": False,
    "matching_weight": 0.0,
    "clip_weight": 0.0,
    "perceptual_encoder": "dino",
    "up_dim": 4,
    "up_mults": [1, 2],
    "up_down_mults": [2],
    "up_attention_depths": [0, 1],
    "up_middle_depth": 1,
    "up_blocks": 1,
    "up_heads": 2,
}
LENGTH = {"total_kimg": 0.064, "report_every_kimg": 0.016, "look_every_kimg": 0.016}


def job_of(world: Path, run_dir: Path, **train: Any) -> TrainingJob:
    return TrainingJob(
        stage="train_base",
        seed=1,
        recipe=ALONE,
        train={**TRAIN, **LENGTH, **train},
        run_dir=str(run_dir),
        data_dir=str(world / "data" / "train"),
        encoders_dir=str(world / "artifacts" / "encoders"),
        fingerprint="alone",
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data without captions, a trained upsampler, its evaluation and its release."""
    folder = write_world(tmp_path_factory.mktemp("world"))
    data = folder / "data" / "train"
    facts = {k: v for k, v in read_manifest(data).items() if k != "content_hash"}
    write_manifest(data, {**facts, "embedding_dim": 0})
    clip = folder / "artifacts" / "encoders" / "clip"
    shutil.rmtree(clip)
    clip.mkdir()
    (clip / ABSENT).write_text("{}")
    lines: list[dict[str, Any]] = []
    run_job(job_of(folder, folder / "run"), World(), lines.append, "cpu")
    ticks = [line for line in lines if line.get("kind") == "tick"]
    assert "loss/generator/perceptual" in ticks[0]
    shutil.copytree(folder / "run" / "artifact", folder / "artifacts" / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANLINE_RUNS_DIR", str(folder / "runs"))
        run_evaluate(folder)
        said = run_publish(folder, PublishConfig(model_name="ours"))
    assert "publish: not registered, for a model that only enlarges is not served" in said
    return folder


def test_it_resumes_to_the_bit(world: Path, tmp_path: Path) -> None:
    run_job(job_of(world, tmp_path, total_kimg=0.032), World(), lambda line: None, "cpu")
    shutil.rmtree(tmp_path / "artifact")
    run_job(job_of(world, tmp_path), World(), lambda line: None, "cpu")
    whole, again = (read_card(p / "artifact")["files"] for p in (world / "run", tmp_path))
    assert "generator.safetensors" in whole
    for files in (whole, again):
        files.pop("metrics.json")  # tells the seconds
    assert whole == again


def test_a_condition_holds_the_picture_shrunk(world: Path) -> None:
    rows = BatchSource(world / "data/train", "heldout", SIDE, 0, shrink=4).atom(0, 3)
    small, image = rows.condition.picture_NCHW, rows.image_NCHW
    assert small is not None and image is not None
    assert small.shape == (3, 3, SIDE // 4, SIDE // 4)
    assert torch.allclose(small[0, 0, 0, 0], image[0, 0, :4, :4].mean(), atol=1e-6)
    rows = BatchSource(world / "data/train", "heldout", SIDE, 0).atom(0, 3)
    assert rows.condition.picture_NCHW is None


def test_the_sheets_show_input_bicubic_model_and_real(world: Path) -> None:
    """The four columns of the first row, read back from the sheet itself."""
    generator, _ = load_generator(world / "artifacts/base")
    rows = BatchSource(world / "data/train", "heldout", SIDE, 0, generator.shrinks).first(1)
    assert rows.condition.picture_NCHW is not None and rows.image_NCHW is not None
    made = generate_from(generator, rows.condition, [0])[0]
    assert made.shape == (SIDE, SIDE, 3)
    for sheet in ("run/artifact/samples.png", "artifacts/evaluation/samples.png"):
        with Image.open(world / sheet) as image:
            assert image.width > 4 * SIDE and np.asarray(image).std() > 0


def test_it_is_measured_against_real_images_and_bicubic(world: Path) -> None:
    found = json.loads((world / "artifacts/evaluation/metrics.json").read_text())
    assert found["frechet_dino"]["after"] > 0
    assert set(found["upscaling"]) == {"frechet", "frechet_bicubic", "drift", "drift_bicubic"}
    assert found["clip_score"] is None and found["judge"] is None
    assert found["seed_variety"] is None
    assert found["not_measured"]["seed_variety"].startswith("the model only enlarges")


def test_the_release_enlarges_and_draws_nothing(world: Path, tmp_path: Path, capsys) -> None:
    release, big = world / "artifacts/release", tmp_path / "big.png"
    text = (release / "MODEL_CARD.md").read_text()
    assert "ganline upscale photo.png --model" in text and "ganline generate" not in text
    pixels = np.random.default_rng(0).integers(0, 255, (11, 23, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    assert upscale([str(tmp_path / "small.png"), "--model", str(release), "--out", str(big)]) == 0
    with Image.open(big) as image:
        assert image.size == (46, 22)
    capsys.readouterr()
    assert generate(["--model", str(release), "--out", str(tmp_path / "a.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the model enlarges pictures and draws none" in line and "ganline upscale" in line
    assert not (tmp_path / "a.png").exists()
