"""Truncation to centroids, and of the first layers alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from components.artifacts.label_to_image import LabelToImage
from components.errors import ConfigError
from components.sampling import Keyframe, Towards, fit_centroids, generate, mix, walk
from components.sampling.draw import codes
from models.interfaces import Condition, ConditionShape
from models.stylegan_xl.generator import StyleGANXLGenerator
from tests.components.sampling.conftest import make_generator

SHAPE = ConditionShape(num_labels=3)
CARD = {"shape": dataclasses.asdict(SHAPE), "label_names": ["cat", "dog", "owl"]}
LABELS = Condition(label_N=torch.tensor([0, 1, 2]))


@pytest.fixture(scope="module")
def classes() -> LabelToImage:
    """A model of classes, each of whose codes lie apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = StyleGANXLGenerator(
            shape=SHAPE, channel_base=256, channel_max=8, stem_layers=5, z_dim=6, w_dim=10,
            embed_dim=7, num_mapping_layers=2,
        )  # fmt: skip
    return LabelToImage(generator.eval(), CARD)


def test_centroids_are_where_codes_are_and_a_function_of_the_seed(classes) -> None:
    found = fit_centroids(classes.generator, CARD["shape"], 12)
    assert found.shape == (12, classes.generator.w_dim)
    assert torch.equal(found, fit_centroids(classes.generator, CARD["shape"], 12))
    assert not torch.equal(found, fit_centroids(classes.generator, CARD["shape"], 12, seed=1))
    z_ND = torch.randn(300, classes.generator.z_dim)
    labels = Condition(label_N=torch.arange(300) % 3)
    w_ND = classes.generator.map(z_ND, labels)[:, 0].detach()

    def gap(centres) -> float:
        return float(torch.cdist(w_ND, centres).min(dim=1).values.square().mean())

    assert gap(found) < 0.7 * gap(w_ND.mean(dim=0, keepdim=True))
    # Of classes alike: a single centroid is the mean over all classes.
    one = fit_centroids(classes.generator, CARD["shape"], 1)
    assert gap(one) < 1.3 * gap(w_ND.mean(dim=0, keepdim=True))


def test_psi_draws_to_the_nearest_centroid(classes) -> None:
    centroids = fit_centroids(classes.generator, CARD["shape"], 12)
    whole = codes(classes.generator, LABELS, [1, 2, 3], [1.0] * 3)
    nearest = centroids[torch.cdist(whole[:, 0], centroids).argmin(dim=1)]
    half = codes(
        classes.generator, LABELS, [1, 2, 3], [0.5] * 3, Towards(centroids_MD=centroids, cutoff=2)
    )
    torch.testing.assert_close(half[:, 0], (whole[:, 0] + nearest) / 2)
    torch.testing.assert_close(half[:, 1], half[:, 0])
    assert torch.equal(half[:, 2:], whole[:, 2:]), "layers from the cutoff on stay"


def test_every_way_of_sampling_takes_it(classes) -> None:
    towards = Towards(centroids_MD=fit_centroids(classes.generator, CARD["shape"], 12))
    names, seeds = ["cat", "owl"], [1, 2]
    plain = generate(classes, names, seeds, 0.2)
    drawn = generate(classes, names, seeds, 0.2, towards=towards)
    assert np.abs(plain.astype(int) - drawn).max() > 1
    assert np.array_equal(
        generate(classes, names, seeds, 1.0, towards=towards), generate(classes, names, seeds)
    )
    mixed = mix(classes, names, seeds, names, seeds, [0], 0.2, towards=towards)
    assert np.abs(mixed.astype(int) - drawn).max() <= 1
    stops = [Keyframe(prompt=n, seed=s) for n, s in zip(names, seeds, strict=True)]
    frames = np.concatenate(list(walk(classes, stops, 3, truncation=0.2, towards=towards)))
    assert np.abs(frames[[0, 2]].astype(int) - drawn).max() <= 1
    with pytest.raises(ConfigError, match="a walk in z would jump"):
        list(walk(classes, [stops[0]] * 2, 3, space="z", towards=towards))


def test_any_family_cuts_truncation_off_at_a_layer(model) -> None:
    z = codes(model.generator, model.condition(["a"]), [1], [1.0])
    drawn = codes(model.generator, model.condition(["a"]), [1], [0.0])
    cut = codes(model.generator, model.condition(["a"]), [1], [0.0], Towards(cutoff=1))
    assert torch.equal(cut[:, :1], drawn[:, :1])
    assert torch.equal(cut[:, 1:], z[:, 1:])
    assert not torch.equal(z, drawn)


@pytest.mark.parametrize("number", [0, -1, 1001])
def test_the_number_of_centroids_is_checked(classes, number) -> None:
    with pytest.raises(ConfigError, match=f"{number} centroids"):
        fit_centroids(classes.generator, CARD["shape"], number)


def test_what_cannot_be_drawn_to_is_one_line(classes, model) -> None:
    plain = make_generator(SHAPE)
    with pytest.raises(ConfigError, match="this family's codes know no centroids"):
        fit_centroids(plain, CARD["shape"], 3)
    with pytest.raises(ConfigError, match="this family's codes know no centroids"):
        generate(model, ["a"], [1], 0.5, towards=Towards(centroids_MD=torch.zeros(2, 8)))
    with pytest.raises(ConfigError, match="a model of text has no centroids"):
        fit_centroids(classes.generator, {"pooled_dim": 6}, 3)
    for cutoff in (0, 99):
        with pytest.raises(ConfigError, match=f"cutoff is {cutoff}"):
            generate(classes, ["cat"], [1], 0.5, towards=Towards(cutoff=cutoff))
