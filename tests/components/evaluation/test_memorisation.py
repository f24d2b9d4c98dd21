"""Nearest training images: by brute force, of a copying generator, and of real held-out images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from components.data.synthetic import draw, sample_pairs
from components.evaluation.bench import Bench
from components.evaluation.cards import COPIES, GUIDE_LOOKS
from components.evaluation.config import EvaluateConfig
from components.evaluation.memorisation import (
    FEWEST,
    NEAR,
    Nearness,
    Space,
    closest_pairs,
    measure_memorisation,
    nearest,
)
from components.evaluation.scores import training_distance
from components.sampling import from_uint8
from models.interfaces import Batch, Condition
from tests.components.evaluation.conftest import measuring

CONFIG = EvaluateConfig(batch=32)


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1))


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(70, 5)), rng.normal(size=(40, 5)), rng.normal(size=(300, 5))


def test_the_nearest_is_that_of_brute_force_also_in_blocks(sets, monkeypatch):
    drawn, _, training = sets
    truth = distances(drawn, training)
    monkeypatch.setattr("components.evaluation.distances.BLOCK_VALUES", 300 * 7)
    distance, index = nearest(torch.tensor(drawn), torch.tensor(training))
    assert index.tolist() == truth.argmin(1).tolist()
    assert distance.numpy() == pytest.approx(truth.min(1), rel=1e-6)
    far = torch.tensor(training + 1000).float()  # differences are small beside the values
    copies, found = nearest(far[:9], far)
    assert copies.tolist() == [0] * 9 and found.tolist() == list(range(9))


def test_shares_and_ratios_are_those_of_brute_force(sets):
    drawn, held_out, training = sets
    drawn[:10] = training[:10] + 1e-3  # ten near copies
    found = Nearness.of(Space(**dict(zip(
        ("sample_MD", "held_out_HD", "training_TD"), map(torch.tensor, sets), strict=True
    ))))  # fmt: skip
    real = np.sort(distances(held_out, training).min(1))
    threshold = real[1]  # two of 40 are 5 %
    mine = distances(drawn, training).min(1)
    assert found.expected == pytest.approx((real <= threshold).mean()) == NEAR
    assert found.share == pytest.approx((mine <= threshold).mean()) and found.share >= 10 / 70
    assert found.ratio_M.numpy() == pytest.approx(mine / threshold, rel=1e-4, abs=1e-4)


def test_where_held_out_images_are_copies_too_a_copy_is_not_beyond_them():
    same = torch.arange(60.0)[:, None]
    found = Nearness.of(Space(sample_MD=same[:9] + 0.25, held_out_HD=same[:30], training_TD=same))
    assert (found.share, found.expected) == (0.0, 1.0)
    assert torch.isinf(found.ratio_M).all()
    found = Nearness.of(Space(sample_MD=same[:9], held_out_HD=same[:30], training_TD=same))
    assert (found.share, found.expected) == (1.0, 1.0)
    assert found.ratio_M.tolist() == [0] * 9


def test_the_sheet_begins_with_what_is_counted_in_either_space():
    def one(ratios: list[float]) -> Nearness:
        index = torch.arange(len(ratios)) + 7
        return Nearness(index_M=index, ratio_M=torch.tensor(ratios), share=0.0, expected=0.0)

    # The first two are copies by one space alone; the third is by none, though its larger ratio is
    # the smallest; of the last two, equal by the smaller one, the nearer by the other comes first.
    ratios = {"a": [0.1, 5.0, 1.2, 0.9, 0.9], "b": [3.0, 0.6, 1.1, 4.0, 2.0]}
    pairs = closest_pairs({name: one(values) for name, values in ratios.items()}, 5)
    assert [pair.sample for pair in pairs] == [0, 1, 4, 3, 2]
    assert pairs[1].training == {"a": 8, "b": 8}
    assert pairs[1].ratio == pytest.approx({"a": 5.0, "b": 0.6})


class Drawings:
    """Drawings of the embedded corpus, as a BatchSource of one split."""

    content_hash, seed, resolution = "d1", 0, 32
    label_names = ()

    def __init__(self, split: str, count: int, *, captions: bool = False) -> None:
        pairs = sample_pairs(3, split, range(count))
        self.images = draw(pairs.attributes, pairs.generators, 32)
        self.captions = list(pairs.captions) if captions else [""] * count
        self.num_rows = count

    def atom(self, position: int, size: int) -> Batch:
        rows = [(position + i) % self.num_rows for i in range(size)]
        return Batch(
            size=size,
            condition=Condition(pooled_ND=torch.zeros(size, 4)),
            image_NCHW=from_uint8(self.images[rows]),
            captions=tuple(self.captions[row] for row in rows),
        )


class Album(nn.Module):
    """A generator that shows pictures of an album, each seed one of them."""

    z_dim, resolution = 4, 32

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("pictures", from_uint8(images))

    def map(self, z_ND: Tensor, condition: Condition, truncation: float = 1.0) -> Tensor:
        return z_ND[:, None]

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: object = "const") -> Tensor:
        number = (ws_NLD[:, 0, 0].abs() * 1e4).long() % len(self.pictures)
        return self.pictures[number]


class Edges(nn.Module):
    """Features that are no pixels: how strongly random filters answer, in four fields."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(24, 3, 5, 5, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weight", weight)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        answer = nn.functional.conv2d(image_NCHW, self.weight, stride=2).relu()
        return {"pooled": nn.functional.adaptive_avg_pool2d(answer, 2).flatten(1)}


TRAINING, HELD_OUT = Drawings("train", 500), Drawings("test", 600)


def measured(album: np.ndarray, *, role: str = "scorer", **changes) -> dict:
    net = measuring(Edges(), role)
    bench = Bench(source=HELD_OUT, config=CONFIG, net=net, clip=None, training=TRAINING)
    bench = dataclasses.replace(bench, **changes)
    return measure_memorisation(bench, bench.sample(Album(album), 200, looked=True))


def test_a_generator_that_copies_training_images_is_found_out():
    found = measured(TRAINING.images)
    assert found["scores"]["memorised"] == found["scores"]["memorised_pixels"] == 1
    assert found["scores"]["memorised_held_out"] == pytest.approx(NEAR, abs=0.005)
    (warning,) = found["warnings"]
    assert warning.startswith(COPIES) and "by features 100 % and by pixels 100 %" in warning
    assert warning in found["cards"]["memorised"]["note"]
    assert all(pair.ratio["memorised"] == 0 for pair in found["pairs"])
    for pair in found["pairs"]:  # the copy's original, by both
        assert pair.training["memorised"] == pair.training["memorised_pixels"]


def test_real_images_that_were_not_trained_on_score_the_held_out_share():
    found = measured(Drawings("judge", 4000).images)
    assert found["warnings"] == [] and found["missing"] == {}
    for name in ("memorised", "memorised_pixels"):
        assert found["scores"][name] == pytest.approx(NEAR, abs=0.05)
    card = found["cards"]["memorised"]
    assert (card["num_fake"], card["num_real"]) == (200, 500)
    assert "500 of 500 training images; 0.050 of 600 held-out images are as near" in card["note"]
    assert found["cards"]["memorised_pixels"]["net"] == "none: pixels"


def test_near_in_one_space_alone_is_no_warning():
    board = np.indices((32, 32)).sum(0)[..., None] % 2 * 80 - 40  # gone in a small picture
    album = (TRAINING.images.astype(int).clip(40, 215) + board).astype(np.uint8)
    found = measured(album)
    assert found["scores"]["memorised_pixels"] > 3 * NEAR > found["scores"]["memorised"]
    assert found["warnings"] == []


def test_only_so_many_training_images_are_looked_at_and_the_card_counts_them(tmp_path):
    config = dataclasses.replace(CONFIG, memorised_images=100)
    for _ in range(2):  # the second time from the cache
        found = measured(TRAINING.images, config=config, cache=tmp_path)
        assert "nearest of 100 of 500 training images" in found["cards"]["memorised"]["note"]
        assert max(pair.training["memorised"] for pair in found["pairs"]) < 100
        # A fifth of the copies have their original among them.
        assert 0.1 < found["scores"]["memorised"] < 0.35
    assert sorted(tmp_path.iterdir())


def test_the_net_that_may_also_guide_is_named_as_such():
    clip = measuring(Edges(), "clip")
    assert GUIDE_LOOKS in measured(TRAINING.images, net=clip)["cards"]["memorised"]["note"]
    assert GUIDE_LOOKS not in measured(TRAINING.images)["cards"]["memorised"]["note"]


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"training": None}, "not at hand"),
        ({"source": Drawings("test", FEWEST - 1)}, f"{FEWEST - 1} held-out images say too little"),
    ],
)
def test_what_cannot_be_measured_says_why(changes, why):
    found = measured(TRAINING.images, **changes)
    assert set(found["scores"].values()) == {None} and set(found["missing"]) == set(found["scores"])
    assert all(why in text for text in found["missing"].values())
    assert found["pairs"] == [] and found["cards"] == {}


def test_small_pictures_are_taken_of_the_first_images_only_without_outlines(monkeypatch):
    monkeypatch.setattr("components.evaluation.bench.IMAGES_LIMIT", 64)
    bench = Bench(source=HELD_OUT, config=CONFIG, net=measuring(Edges(), "x"), training=TRAINING)
    looks = bench.sample(Album(TRAINING.images), 200, looked=True).looks
    assert len(looks.pixel_ND) == 64
    told = Drawings("test", 60, captions=True)
    assert measured(TRAINING.images, source=told)["scores"]["memorised"] == 1


def test_the_distance_of_training_images_is_that_of_the_first_ones_by_hand():
    """By the formula (Heusel et al. 2017, equation 6), with a square root of a matrix."""
    net = measuring(Edges(), "guide")
    config = dataclasses.replace(CONFIG, num_fake=300)
    bench = Bench(source=HELD_OUT, config=config, net=net, training=TRAINING)
    pairs = []
    for album, count in ((HELD_OUT, 600), (TRAINING, 300)):
        feature = net.network(from_uint8(album.images[:count]))["pooled"].double().numpy()
        pairs.append((feature.mean(axis=0), np.cov(feature, rowvar=False)))
    (first, spread), (second, other) = pairs
    root = scipy.linalg.sqrtm(spread @ other).real
    wanted = ((first - second) ** 2).sum() + np.trace(spread + other - 2 * root)
    assert training_distance(bench) == pytest.approx(wanted, rel=1e-4) and wanted > 0
    few = dataclasses.replace(bench, training=Drawings("train", FEWEST - 1))
    assert training_distance(few) is None
    assert training_distance(dataclasses.replace(bench, training=None)) is None
