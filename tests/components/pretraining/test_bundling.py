"""Bundled nets: half precision only where no decision changes, and taken only when whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from components.data.config import SynthesizeConfig
from components.errors import StorageError
from components.pretraining.bundled import take_bundled
from components.pretraining.bundling import bundle_net, changed_decisions, told_data
from components.pretraining.config import EncodersConfig
from components.pretraining.role_numbers import decide, measure
from models.features import build_feature_net, load_feature_net, read_card, save_feature_net
from tests.components.pretraining.drawings import drawn_data
from tests.components.pretraining.test_training import small_config

ORIGIN = {"preset": "a test", "commit": "none", "data": "drawings", "licence": "Apache-2.0"}
ROLES = ("clip", "dino", "classifier", "judge", "scorer")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from components.pretraining.roles import make_encoders

    folder = tmp_path_factory.mktemp("trained") / "encoders"
    make_encoders(drawn_data(small_config(), 64), folder, lambda line: None)
    return folder


@pytest.mark.parametrize("role", ROLES)
def test_the_card_tells_what_the_stored_net_does(role: str, trained: Path, tmp_path: Path) -> None:
    data = drawn_data(EncodersConfig(), 64)
    card = bundle_net(role, trained / role, tmp_path / role, data, ORIGIN)
    net, before = load_feature_net(tmp_path / role), load_feature_net(trained / role)
    assert card.origin.items() >= ORIGIN.items()
    changed = changed_decisions(role, before, net, data)
    assert changed == 0, "neither in half precision nor in full"
    if card.stored == "float16":
        assert card.origin["half_precision"] == "changes 0 of 100 decisions"
        assert card.sha256 != read_card(trained / role).sha256
    else:
        assert card.origin["half_precision"] != "changes 0 of 100 decisions"
        assert card.sha256 == read_card(trained / role).sha256
    numbers = measure(role, net, data)
    assert numbers
    assert {name: card.metrics[name] for name in numbers} == pytest.approx(numbers, abs=1e-5)
    assert "loss" in card.metrics, "it cannot be measured again"


def test_one_changed_decision_keeps_full_precision(trained: Path, tmp_path: Path) -> None:
    """Two values of an attribute whose weights differ by less than half precision can tell."""
    card, net = read_card(trained / "judge"), load_feature_net(trained / "judge")
    head = net.network.heads["size"]
    with torch.no_grad():
        head.weight[:] = 1.0
        head.weight[1] += 1e-4  # float16 knows 1 and 1.00098, nothing between
        head.bias.zero_()
    save_feature_net(tmp_path / "close", net, role="judge", source=card.source)
    data = drawn_data(EncodersConfig(), 64)
    kept = bundle_net("judge", tmp_path / "close", tmp_path / "box", data, ORIGIN)
    assert kept.stored == "float32"
    assert int(kept.origin["half_precision"].split()[1]) > 50
    found = load_feature_net(tmp_path / "box").network.state_dict()
    assert all(torch.equal(found[name], t) for name, t in net.network.state_dict().items())


def test_decisions_are_what_the_numbers_count(trained: Path) -> None:
    data = drawn_data(EncodersConfig(), 64)
    judge = load_feature_net(trained / "judge")
    guesses, truth = decide("judge", judge, data), data.test.attributes
    shares = {f"accuracy_{k}": float((guesses[k] == truth[k]).float().mean()) for k in truth}
    assert measure("judge", judge, data).items() >= shares.items()
    other = build_feature_net(read_card(trained / "judge"))
    assert changed_decisions("judge", judge, other, data) > 0


def test_a_net_of_another_role_is_not_bundled(trained: Path, tmp_path: Path) -> None:
    data = drawn_data(EncodersConfig(), 64)
    with pytest.raises(StorageError, match="a net of the role clip, wanted scorer"):
        bundle_net("scorer", trained / "clip", tmp_path / "x", data, ORIGIN)
    with pytest.raises(StorageError, match="no readable card"):
        bundle_net("clip", tmp_path / "nowhere", tmp_path / "x", data, ORIGIN)


def test_taken_byte_for_byte(trained: Path, tmp_path: Path) -> None:
    card = take_bundled("clip", trained, tmp_path / "clip")
    assert card == read_card(trained / "clip")
    for name in ("card.json", "model.safetensors"):
        assert (tmp_path / "clip" / name).read_bytes() == (trained / "clip" / name).read_bytes()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda box: (box / "clip/model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda box: (box / "clip/model.safetensors").write_bytes(b"cut"), "its card says"),
        (lambda box: (box / "clip/card.json").write_text("{"), "no readable card"),
        (lambda box: shutil.rmtree(box / "clip"), "no readable card"),
        (
            lambda box: shutil.copytree(box / "scorer", box / "clip", dirs_exist_ok=True),
            "is a net of the role scorer",
        ),
    ],
)
def test_a_damaged_box_is_one_line(trained: Path, tmp_path: Path, damage, says: str) -> None:
    shutil.copytree(trained, tmp_path / "box")
    damage(tmp_path / "box")
    with pytest.raises(StorageError, match=says) as caught:
        take_bundled("clip", tmp_path / "box", tmp_path / "clip")
    assert caught.value.where == "encoders.clip.source: bundled"
    assert "set source to train" in caught.value.todo
    assert not (tmp_path / "clip").exists()


def test_the_data_is_told_in_words() -> None:
    config = SynthesizeConfig(encoders_pairs=4_000, judge_pairs=2_000, test_pairs=300)
    assert told_data("dino", config, 7) == (
        "4,000 drawings of the embedded corpus at 64 px, split encoders, seed 7; numbers on 300 of "
        "split test"
    )
    assert told_data("scorer", config, 7).startswith("2,000 drawings")
    assert "split judge" in told_data("judge", config, 7)
