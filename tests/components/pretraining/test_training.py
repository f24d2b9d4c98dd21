"""Clip, classifier and judge on tiny data: they learn, freeze, and repeat byte for byte."""

import dataclasses
import hashlib
import json
import math

import pytest
import torch

from components.data.captions import PAIR_ATTRIBUTES
from components.errors import DataError
from components.pretraining import augment
from components.pretraining.clip import all_prompts, embed_images, retrieval, train_clip
from components.pretraining.config import (
    ROLES,
    ClassifierTraining,
    ClipTraining,
    DinoTraining,
    EncodersConfig,
    FitConfig,
    JudgeTraining,
)
from components.pretraining.fitting import fit, learning_rate_factor, parameter_groups
from components.pretraining.images import image_set
from components.pretraining.roles import make_encoders, train_role
from models.features import load_feature_net
from models.features.attributes import AttributeCnn
from tests.components.pretraining.drawings import drawings, drawn_data


def small_config(kimg: float = 0.064) -> EncodersConfig:
    length = FitConfig(total_kimg=kimg, batch=32, learning_rate=2.0e-3)
    small = EncodersConfig()
    return dataclasses.replace(
        small,
        clip=dataclasses.replace(small.clip, train=ClipTraining(fit=length, text_width=16)),
        dino=dataclasses.replace(small.dino, train=DinoTraining(fit=length, width=16)),
        classifier=dataclasses.replace(
            small.classifier, train=ClassifierTraining(fit=length, image_size_px=32)
        ),
        guide=dataclasses.replace(
            small.guide, source="train", train=ClassifierTraining(fit=length, image_size_px=32)
        ),
        judge=dataclasses.replace(
            small.judge, train=JudgeTraining(fit=length, widths=(8, 8), strides=(2, 2))
        ),
        scorer=dataclasses.replace(
            small.scorer, source="train", train=ClipTraining(fit=length, text_width=16)
        ),
    )


def test_clip_learns_to_retrieve():
    config = ClipTraining(
        fit=FitConfig(total_kimg=4, batch=64, learning_rate=3.0e-3),
        text_width=32,
        adversary=0.0,
        noise=0.02,
    )
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    net, metrics = train_clip(drawings("encoders", 512), config, rng, lambda line: None)
    found = retrieval(net, drawings("test", 200))
    # Chance is 1/8, 1/8, 1/2; a batch of 64 at random has a loss of ln 64.
    assert found["retrieval_background"] > 0.5
    assert found["retrieval_colour"] > 0.22
    assert metrics["loss"] < 0.7 * math.log(64)
    assert net.network.logit_scale.exp() <= 100.0
    assert not any(p.requires_grad for p in net.parameters())


def test_clip_learns_what_only_classes_tell():
    """Captions that name no shape: with the weight, embeddings of one shape lie together."""
    shown = drawings("encoders", 512)
    silent = dataclasses.replace(shown, captions=["a drawing"] * len(shown), attributes=None)
    length = FitConfig(total_kimg=6, batch=64, learning_rate=3.0e-3)

    def nearest_of_its_class(weight):
        config = ClipTraining(fit=length, text_width=16, adversary=0.0, class_weight=weight)
        torch.manual_seed(0)
        net, _ = train_clip(silent, config, torch.Generator().manual_seed(0), lambda line: None)
        vectors = embed_images(net, silent)
        near = (vectors @ vectors.T).fill_diagonal_(-2).argmax(dim=1)
        return float((silent.label_N[near] == silent.label_N).float().mean())

    assert nearest_of_its_class(1.0) > 1.5 * nearest_of_its_class(0.0)


def test_without_classes_their_weight_changes_nothing():
    shown = drawings("encoders", 64)
    nameless = dataclasses.replace(shown, label_N=torch.full_like(shown.label_N, -1))
    length = FitConfig(total_kimg=0.128, batch=32, learning_rate=1.0e-3)

    def weights(images, weight):
        config = ClipTraining(fit=length, text_width=16, class_weight=weight)
        torch.manual_seed(0)
        net, _ = train_clip(images, config, torch.Generator().manual_seed(0), lambda line: None)
        return net.network.state_dict()

    plain, weighted = weights(nameless, 0.0), weights(nameless, 1.0)
    assert all(torch.equal(plain[name], weighted[name]) for name in plain)
    known = weights(shown, 1.0)
    assert any(not torch.equal(plain[name], known[name]) for name in plain)


def test_judge_learns_on_what_it_is_shown():
    data = drawn_data(small_config(kimg=4), 256)
    net, metrics = train_role("judge", data, lambda line: None)
    assert metrics["accuracy_background"] > 0.5
    assert metrics["accuracy_all"] <= min(
        metrics[f"accuracy_{name}"] for name in ("shape", "colour", "background", "size")
    )
    assert net.classes["size"] == ["small", "large"]


def test_judge_and_clip_of_two_objects_learn_both():
    data = drawn_data(small_config(kimg=6), 256, objects=2)
    net, metrics = train_role("judge", data, lambda line: None)
    names = {f"accuracy_{name}" for name in (*PAIR_ATTRIBUTES, "all")}
    assert set(metrics) == names | {"loss"} and net.classes == PAIR_ATTRIBUTES
    assert metrics["accuracy_background"] > 0.5
    assert net.architecture["places"]
    found = retrieval(train_role("clip", data, lambda line: None)[0], data.test)
    assert set(found) == {"retrieval_top1", "retrieval_among"}


@pytest.mark.parametrize("places", [False, True])
def test_a_judge_knows_left_from_right_by_its_places_alone(places):
    torch.manual_seed(0)
    net = AttributeCnn([8, 8], [2, 2], 8, {"relation": ["left of", "above"]}, places).eval()
    left = torch.zeros(1, 3, 32, 32)
    left[:, :, 12:18, 8:12] = 1
    seen, moved = (net(x)["pooled"] for x in (left, left.roll(12, dims=3)))
    assert torch.allclose(seen, moved, atol=1e-6) != places


@pytest.mark.parametrize(("objects", "mirrored"), [(1, True), (2, False)])
def test_the_judge_of_left_and_right_sees_no_mirror_image(monkeypatch, objects, mirrored):
    """A mirrored drawing of two objects would be one whose caption is wrong."""
    turned = []
    mirror = augment.mirror
    monkeypatch.setattr(augment, "mirror", lambda x, rng: turned.append(1) or mirror(x, rng))
    data = drawn_data(small_config(), 64, objects=objects)
    train_role("judge", data, lambda line: None)
    assert bool(turned) == mirrored


def test_retrieval_is_counted_by_hand():
    index, prompts = all_prompts()
    assert len(prompts) == len(set(prompts)) == 5 * 8 * 7 * 2

    class Oracle:
        """Knows the truth of the first three images, and takes the fourth for a cross."""

        def __call__(self, image):
            return {"pooled": self.codes[: len(image)]}

        def encode_text(self, texts):
            return torch.eye(len(texts))

    images = drawings("test", 4)
    chosen = {name: value.clone() for name, value in images.attributes.items()}
    chosen["shape"][3] = (chosen["shape"][3] + 1) % 5
    rows = [
        next(p for p in range(len(prompts)) if all(index[n][p] == chosen[n][i] for n in index))
        for i in range(4)
    ]
    Oracle.codes = torch.eye(len(prompts))[rows]
    assert retrieval(Oracle(), images) == {
        "retrieval_shape": 0.75,
        "retrieval_colour": 1.0,
        "retrieval_background": 1.0,
        "retrieval_size": 1.0,
        "retrieval_all": 0.75,
    }


def test_all_roles_twice_give_equal_bytes(tmp_path):
    hashes = []
    for name in ("first", "second"):
        torch.manual_seed(len(hashes))  # the caller's generator must not matter
        cards = make_encoders(drawn_data(small_config(), 64), tmp_path / name, lambda line: None)
        assert set(cards) == set(ROLES)
        files = sorted((tmp_path / name).glob("*/model.safetensors"))
        hashes.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert len(set(hashes[0])) == len(ROLES), "the scorer is not the clip that guides"
    assert hashes[0] == hashes[1]
    other = make_encoders(drawn_data(small_config(), 64, seed=1), tmp_path / "third", print)
    assert not {card.sha256 for card in other.values()} & set(hashes[0])


def test_the_scorer_takes_the_judges_drawings_or_the_source(tmp_path):
    data = drawn_data(small_config(), 8)
    del data.__dict__["scorer"]
    data.__dict__["_from_source"] = (drawings("encoders", 8), drawings("test", 8))
    assert data.scorer is data._from_source[0], "no drawings: real data"
    drawn = drawn_data(small_config(), 8)
    del drawn.__dict__["scorer"]
    drawn.raw = tmp_path
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "00000.tar").touch()
    assert drawn.scorer is drawn.judge


def test_folder_is_replaced_and_lists_every_role(tmp_path):
    out = tmp_path / "encoders"
    (out / "old").mkdir(parents=True)
    config = small_config()
    none = dict.fromkeys(("clip", "dino", "classifier", "guide", "scorer"), "none")
    config = dataclasses.replace(
        config,
        **{
            role: dataclasses.replace(getattr(config, role), source=source)
            for role, source in none.items()
        },
    )
    lines: list[str] = []
    cards = make_encoders(drawn_data(config, 64), out, lines.append)
    assert sorted(path.name for path in out.iterdir()) == sorted([*none, "index.json", "judge"])
    index = json.loads((out / "index.json").read_text())
    assert index["clip"] == {"source": "none", "kind": None, "sha256": None}
    assert index["judge"]["sha256"] == cards["judge"].sha256
    assert load_feature_net(out / "judge").classes["shape"][0] == "circle"
    assert any("judge: ready in" in line for line in lines)
    assert sorted(tmp_path.iterdir()) == [out]


def test_judge_and_classifier_say_what_they_lack():
    config = small_config()
    data = drawn_data(config, 32)
    plain = image_set(data.train.pixels_NCHW.permute(0, 2, 3, 1).numpy(), ["a cat"] * 32, [""] * 32)
    data.__dict__["judge"] = data.__dict__["train"] = plain
    with pytest.raises(DataError, match=r"encoders.judge.source: none"):
        train_role("judge", data, print)
    with pytest.raises(DataError, match=r"source.label_column"):
        train_role("classifier", data, print)


def test_learning_rate_rises_and_falls():
    assert learning_rate_factor(0.05) == pytest.approx(0.5)
    assert learning_rate_factor(0.1) == pytest.approx(1.0)
    assert learning_rate_factor(0.55) == pytest.approx(0.5)
    assert learning_rate_factor(1.0) == pytest.approx(0.0)


def test_only_matrices_decay():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decayed, plain = parameter_groups([net], 0.1)
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert len(plain["params"]) == 3


def test_fit_visits_every_row_once_per_epoch():
    weight, seen = torch.nn.Linear(1, 1), []

    def loss(rows, progress):
        seen.extend(rows.tolist())
        return weight(torch.ones(1, 1)).sum()

    config = FitConfig(total_kimg=0.03, batch=4)
    fit([weight], loss, num_images=10, config=config, rng=torch.Generator(), say=print)
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))


def test_worst_nearby_raises_the_loss_within_its_radius():
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pull = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    rng = torch.Generator().manual_seed(2)
    moved = augment.worst_nearby(x, lambda y: (y * pull).sum(), 0.1, rng)
    change = (moved - x).flatten(1)
    assert change.abs().max() <= 0.1 + 1e-6
    assert not moved.requires_grad
    # For a linear loss the worst place in the box is known: the radius times the sum of |pull|.
    gain = (change * pull.flatten()).sum(dim=1)
    radius = change.abs().amax(dim=1)
    assert (gain > 0.5 * radius * pull.abs().sum()).all()


def test_crops_lie_inside_and_have_their_size():
    ramp = torch.linspace(-1, 1, 32).expand(4, 3, 32, 32)
    crop = augment.random_crop(ramp, 16, (0.25, 0.25), torch.Generator().manual_seed(0))
    assert crop.shape == (4, 3, 16, 16)
    width = crop[..., -1] - crop[..., 0]
    # A quarter of the area is half of the width; the outermost pixel centres lie inside it.
    torch.testing.assert_close(width, torch.full_like(width, 15 / 32 * 64 / 31))
