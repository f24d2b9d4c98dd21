"""Outlines: right on real drawings of every kind, blind to texture, none without an object."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from components.data.captions import ATTRIBUTES
from components.data.synthetic import PALETTE, draw, sample_pairs
from components.evaluation.silhouettes import SIDE, Outlines, silhouette, silhouettes


def drawings(seed: int, count: int, side_px: int) -> tuple[np.ndarray, list[dict[str, str]]]:
    pairs = sample_pairs(seed, "silhouettes", range(count))
    images = draw(pairs.attributes, pairs.generators, side_px)
    return images, [pairs.values(row) for row in range(count)]


@pytest.fixture(scope="module", params=[32, 64])
def outlines(request) -> tuple[int, Outlines]:
    images, values = drawings(5, 400, request.param)
    return request.param, Outlines.of(silhouettes(images), [v["shape"] for v in values])


def test_every_kind_of_real_drawing_is_named_right(outlines):
    side_px, known = outlines
    images, values = drawings(9, 600, side_px)
    right: dict[tuple[str, str], list[bool]] = {}
    for found, truth in zip(silhouettes(images), values, strict=True):
        cell = (truth["size"], truth["shape"])
        right.setdefault(cell, []).append(known.name(found) == truth["shape"])
    assert set(right) == set(product(ATTRIBUTES["size"], ATTRIBUTES["shape"]))
    assert {cell: np.mean(found) for cell, found in right.items() if np.mean(found) < 0.98} == {}


def test_a_texture_on_a_disc_is_still_a_disc(outlines):
    """Stripes and a drawn-in cross, all within the disc: what a fooled network calls a cross."""
    side_px, known = outlines
    axis = (np.arange(side_px) + 0.5) * 2 / side_px - 1
    x, y = np.meshgrid(axis, axis)
    image = np.full((side_px, side_px, 3), 30, np.uint8)
    disc = x**2 + y**2 < 0.6**2
    image[disc] = (200, 60, 60)
    image[disc & ((abs(x) < 0.15) | (abs(y) < 0.15))] = (250, 120, 90)
    assert known.name(silhouette(image)) == "circle"


def test_a_blot_is_no_shape(outlines):
    side_px, known = outlines
    image = np.full((side_px, side_px, 3), 30, np.uint8)
    image[side_px // 2, 2:-2] = image[2:-2, 3] = 220  # two long thin lines
    assert known.name(silhouette(image)) == ""


def test_nothing_on_a_lit_ground_is_none():
    rng = np.random.default_rng(0)
    light = np.linspace(-25, 25, 64)[:, None, None]
    ground = 255 * PALETTE[2] + light + rng.normal(0, 5, (64, 64, 3))
    assert silhouette(np.clip(ground, 0, 255).astype(np.uint8)) is None


@pytest.mark.parametrize("side_px", [32, 64])
def test_noise_and_blots_have_no_ground(side_px):
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 255, (20, side_px, side_px, 3), dtype=np.uint8)
    assert silhouettes(noise) == [None] * 20
    for _ in range(20):
        blots = ndimage.gaussian_filter(rng.normal(size=(side_px, side_px, 3)), (4, 4, 0))
        blots = (blots - blots.min()) / np.ptp(blots) * 255
        assert silhouette(blots.astype(np.uint8)) is None


def test_place_and_cover_are_those_of_the_object():
    image = np.full((64, 64, 3), 40, np.uint8)
    image[8:24, 40:60] = 240
    found = silhouette(image)
    assert found is not None
    assert found.centre == pytest.approx((50 / 64, 16 / 64), abs=0.01)
    assert found.outline_SS.shape == (SIDE, SIDE)
    assert found.outline_SS.min() > 0.99  # a box fills its box
    image[20, 2] = 240  # a small piece beside it changes nothing
    assert silhouette(image).centre == pytest.approx(found.centre, abs=0.01)


def test_without_an_object_there_are_no_outlines():
    with pytest.raises(ValueError, match="no drawing has an object"):
        Outlines.of([None, None], ["circle", "ring"])
