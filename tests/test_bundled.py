"""What is in the box: every card holds for its file, and all of it stays small."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from components.artifacts.artifact import weights_hash
from components.artifacts.release import load_release
from components.data.captions import ATTRIBUTES, attributes_of
from components.data.config import SourceConfig
from components.data.synthetic import draw, label_of, sample_pairs
from components.pretraining.clip import all_prompts
from components.pretraining.config import BUNDLED, EncodersConfig
from components.pretraining.images import ImageSet, image_set
from components.pretraining.role_numbers import measure
from components.pretraining.training_data import TrainingData
from components.sampling import generate
from models.features import load_feature_net, read_card
from pipeline.commands.bundle import MOST_BYTES
from pipeline.places import bundled_folder
from tests.house_source import ROOT, files

BOX = bundled_folder()
CARD_FACTS = {"preset", "commit", "data", "licence", "half_precision"}
# Test drawings here, and voters of a neighbour: fewer than the card's 2,000 and tens of thousands.
DRAWN, VOTERS = 300, 6_000
# Four standard errors of a share p over 300 drawings, and a little for p near 0 or 1; fewer voters
# know less, but not by more than this.
FEWER_VOTERS = 0.05


def tolerance(share: float) -> float:
    return 4 * (share * (1 - share) / DRAWN) ** 0.5 + 0.01


def drawn(split: str, count: int) -> ImageSet:
    """Fresh drawings at 64 px, of a seed that no preset draws with."""
    pairs = sample_pairs(987, split, range(count))
    values = [pairs.values(row) for row in range(count)]
    labels = [str(label_of(one["shape"], one["colour"])) for one in values]
    drawn = draw(pairs.attributes, pairs.generators, 64)
    return image_set(drawn, pairs.captions, labels, "index")


@cache
def fresh_data() -> TrainingData:
    data = TrainingData(BOX, SourceConfig(path=""), BOX, EncodersConfig(), 0, BOX)
    data.__dict__["train"] = drawn("encoders", VOTERS)
    data.__dict__["test"] = drawn("test", DRAWN)
    return data


def test_the_box_is_in_the_repository_and_small() -> None:
    tracked = [Path(name) for name in files() if name.startswith("bundled/")]
    assert {path.parts[2] for path in tracked if path.parts[1] == "encoders"} == set(BUNDLED)
    for part, most in MOST_BYTES.items():
        mine = [path for path in tracked if path.parts[1] == part]
        assert mine
        assert sum((ROOT / path).stat().st_size for path in mine) <= most


@pytest.mark.parametrize("role", BUNDLED)
def test_a_card_says_what_its_file_is(role: str) -> None:
    card = read_card(BOX / "encoders" / role)
    assert card.role == role
    assert set(card.origin) == CARD_FACTS
    assert card.origin["licence"] == "Apache-2.0"
    assert (ROOT / "presets" / f"{card.origin['preset']}.yaml").is_file()
    assert len(card.origin["commit"].removesuffix("-dirty")) == 40
    assert "drawings of the embedded corpus" in card.origin["data"]
    assert (card.stored == "float16") == card.origin["half_precision"].startswith("changes 0 ")
    net = load_feature_net(BOX / "encoders" / role)  # hash, names, shapes and types are checked
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("role", BUNDLED)
def test_the_numbers_of_a_card_hold_on_fresh_drawings(role: str) -> None:
    card, net = read_card(BOX / "encoders" / role), load_feature_net(BOX / "encoders" / role)
    found = measure(role, net, fresh_data())
    assert set(found) == set(card.metrics) - {"loss"}
    wrong = {}
    for name, share in found.items():
        told = card.metrics[name]
        allowed = tolerance(told) + (FEWER_VOTERS if role == "dino" else 0)
        if abs(share - told) > allowed:
            wrong[name] = f"{told} in the card, {share:.3f} here, allowed {allowed:.3f} apart"
    assert wrong == {}


def test_the_release_says_how_it_is_stored() -> None:
    card = json.loads((BOX / "release" / "card.json").read_text())
    facts = card["bundled"]
    named = f"{facts['preset']}.yaml"  # a preset, or params.yaml as shipped
    assert any((folder / named).is_file() for folder in (ROOT, ROOT / "presets"))
    assert card["release"]["licence"] == "Apache-2.0"
    if facts["stored"] == "float16":
        assert facts["mean_levels"] <= 0.25
        told = (BOX / "release" / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert f"by {facts['mean_levels']:g} of 255 levels in the mean" in told
    assert weights_hash(card) == card["files"]["generator.safetensors"]


def test_the_release_draws_what_it_is_told() -> None:
    """The background is what every model here gets right; the judge in the box looks at it."""
    model, card = load_release(BOX / "release")
    prompts = all_prompts()[1][::14]
    images = generate(model, prompts, seeds=list(range(len(prompts))))
    assert images.shape == (len(prompts), card["resolution_px"], card["resolution_px"], 3)
    image_NCHW = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    judge = load_feature_net(BOX / "encoders" / "judge")
    with torch.no_grad():
        guess = judge(image_NCHW)["background"].argmax(dim=1).numpy()
    truth = [ATTRIBUTES["background"].index(attributes_of(p)["background"]) for p in prompts]
    assert np.mean(guess == np.array(truth)) >= 0.9
