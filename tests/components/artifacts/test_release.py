"""A release explains itself, opens alone, and does not open when a byte of it changed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifacts.publishing import PublishConfig, Threshold
from components.artifacts.release import load_release, write_release
from components.errors import DataError, StorageError
from components.sampling import generate, generate_from
from models.features import load_feature_net
from models.interfaces import Condition
from tests.pipeline.trained_world import trained_world

CONFIG = PublishConfig(licence="CC-BY-4.0", licence_text="Names must be given.", images_limit=3)
METRICS = {
    "judge": {"all": 0.5},
    "frechet_judge": {"before": 80.0, "after": 20.0},
    "not_measured": {"clip_score": "the model takes no text"},
    "cards": {
        "frechet_judge": {
            "net": "judge", "net_sha256": "ab" * 32, "dtype": "float32", "resizer": "area to 16 px",
            "num_real": 9, "num_fake": 8, "data_content_hash": "cd" * 32, "seed": 0, "note": "",
        }
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_world(tmp_path_factory.mktemp("release"))
    Image.new("RGB", (8, 8)).save(folder / "samples.png")
    return folder


def _write(world: Path, out: Path, config: PublishConfig = CONFIG) -> dict:
    return write_release(
        out,
        artifact=world / "artifacts" / "base",
        encoders=world / "artifacts" / "encoders",
        metrics=METRICS,
        samples=world / "samples.png",
        config=config,
    )


def test_a_release_draws_what_the_artifact_draws(world: Path, tmp_path: Path) -> None:
    from components.artifacts.artifact import load_generator

    _write(world, tmp_path / "release")
    model, card = load_release(tmp_path / "release")
    prompts = ["a red circle", "a blue square"]
    generator, _ = load_generator(world / "artifacts" / "base")
    clip = load_feature_net(world / "artifacts" / "encoders" / "clip")
    condition = Condition(pooled_ND=clip.encode_text(prompts))
    expected = generate_from(generator, condition, [3, 4])
    assert np.abs(generate(model, prompts, [3, 4]).astype(int) - expected).max() <= 1
    assert card["release"]["limits"] == {"prompt_chars": 1000, "images": 3}


def test_only_what_draws_is_in_it(world: Path, tmp_path: Path) -> None:
    _write(world, tmp_path / "release")
    files = {str(p.relative_to(tmp_path / "release")) for p in (tmp_path / "release").rglob("*.*")}
    assert files == {
        "generator.safetensors",
        "card.json",
        "MODEL_CARD.md",
        "samples.png",
        "text_encoder/model.safetensors",
        "text_encoder/card.json",
    }
    clip = world / "artifacts" / "encoders" / "clip" / "model.safetensors"
    text = tmp_path / "release" / "text_encoder" / "model.safetensors"
    assert text.stat().st_size < clip.stat().st_size, "the image tower stays behind"


def test_the_model_card_tells_licence_metrics_and_data(world: Path, tmp_path: Path) -> None:
    card = _write(world, tmp_path / "release")
    text = (tmp_path / "release" / "MODEL_CARD.md").read_text()
    for fact in (
        "CC-BY-4.0. Names must be given.",
        "| judge.all | 0.5 |",
        "| frechet_judge | 20 |",
        "9 real and 8 generated images",
        card["data_content_hash"],
        "samples.png",
    ):
        assert fact in text, fact


@pytest.mark.parametrize(
    ("changes", "alias"),
    [
        ({}, "candidate"),  # nine held-out images are too few for a champion
        ({"least_held_out": 9}, "champion"),
        ({"least_held_out": 9, "thresholds": {"judge.all": Threshold(min=0.6)}}, "candidate"),
        ({"register": False}, None),
    ],
)
def test_the_model_card_names_the_alias_that_the_version_has(
    world: Path, tmp_path: Path, changes: dict, alias: str | None
) -> None:
    _write(world, tmp_path / "release", replace(CONFIG, **changes))
    text = (tmp_path / "release" / "MODEL_CARD.md").read_text()
    named = re.findall("models:/ganline@([a-z]+)", text)
    assert named == ([alias] if alias else [])
    assert "The same question, seed and truncation" in text


def test_the_content_hash_follows_the_weights_only(world: Path, tmp_path: Path) -> None:
    first = _write(world, tmp_path / "a")["release"]["content_hash"]
    assert _write(world, tmp_path / "b")["release"]["content_hash"] == first
    other = trained_world(tmp_path / "other", seed=1)
    (other / "samples.png").write_bytes((world / "samples.png").read_bytes())
    assert _write(other, tmp_path / "c")["release"]["content_hash"] != first


@pytest.mark.parametrize("name", ["generator.safetensors", "text_encoder/model.safetensors"])
def test_a_changed_byte_is_refused(world: Path, tmp_path: Path, name: str) -> None:
    _write(world, tmp_path / "release")
    path = tmp_path / "release" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StorageError, match="sha256"):
        load_release(tmp_path / "release")


def test_a_missing_folder_and_a_bare_artifact_are_told_apart(world: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="run make demo first"):
        load_release(tmp_path / "nothing")
    with pytest.raises(StorageError, match="not a release"):
        load_release(world / "artifacts" / "base")


def test_another_clip_than_the_training_one_is_refused(world: Path, tmp_path: Path) -> None:
    card_path = world / "artifacts" / "base" / "card.json"
    original = card_path.read_text()
    card = json.loads(original)
    card["encoders"]["clip"] = "0" * 64
    try:
        card_path.write_text(json.dumps(card))
        with pytest.raises(DataError, match="trained with CLIP 000000000000"):
            _write(world, tmp_path / "release")
    finally:
        card_path.write_text(original)
    assert not (tmp_path / "release").exists()
