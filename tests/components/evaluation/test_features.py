"""Streaming, rounding and the cache of real features."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from components.errors import NonFiniteError
from components.evaluation.distances import Moments, frechet_distance
from components.evaluation.features import features_of, generated, real_features, stack

COUNT = {"count": 60}


@pytest.mark.parametrize("batch", [7, 64])
def test_results_do_not_depend_on_the_batch(rows, judge, painter, batch: int) -> None:
    torch.manual_seed(0)
    net = dataclasses.replace(judge, network=_random_convolution())

    def measure(size: int) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        real = real_features(rows, net, batch=size, **COUNT)["pooled"]
        pairs = list(generated(painter(20.0), rows, count=90, batch=size, seed=5))
        fake = stack(features_of(net.network, images) for images, _ in pairs)["pooled"]
        return real, fake, [caption for _, captions in pairs for caption in captions]

    one, many = measure(1), measure(batch)
    assert one[2] == many[2]
    torch.testing.assert_close(one[0], many[0], rtol=0, atol=1e-5)
    distances = [frechet_distance(Moments.of(r), Moments.of(f)) for r, f, _ in (one, many)]
    assert distances[0] > 0.01
    assert distances[0] == pytest.approx(distances[1], abs=1e-5)


def _random_convolution() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 12, 5)

        def forward(self, image):
            return {"pooled": self.layer(image).relu().mean((2, 3)) * 10, "stage_0": image}

    return Net().eval()


def test_only_vectors_are_kept(rows) -> None:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    assert set(features_of(_random_convolution(), images)) == {"pooled"}


@pytest.mark.row("E4")
def test_the_cache_is_keyed_by_content(rows, make_rows, judge, cache: Path) -> None:
    net = judge.network
    first = real_features(rows, judge, batch=16, cache=cache, **COUNT)
    assert net.images_seen == 60
    again = real_features(make_rows(), judge, batch=5, cache=cache, **COUNT)
    assert net.images_seen == 60, "same content: not measured again"
    assert all(torch.equal(first[name], again[name]) for name in first)

    real_features(make_rows(content_hash="c1"), judge, batch=16, cache=cache, **COUNT)
    assert net.images_seen == 120, "other content"
    other_net = dataclasses.replace(judge, sha256="f" * 64)
    real_features(rows, other_net, batch=16, cache=cache, **COUNT)
    assert net.images_seen == 180, "other weights"
    real_features(rows, judge, batch=16, cache=cache, count=59)
    assert net.images_seen == 239, "other count"
    real_features(make_rows(seed=1), judge, batch=16, cache=cache, **COUNT)
    assert net.images_seen == 299, "another order"
    real_features(make_rows(resolution=4), judge, batch=16, cache=cache, **COUNT)
    assert net.images_seen == 359, "another resolution"
    assert len(list(cache.iterdir())) == 6


@pytest.mark.parametrize("damage", [b"", b"x" * 100])
def test_a_damaged_cache_is_measured_anew(rows, judge, cache: Path, damage: bytes) -> None:
    first = real_features(rows, judge, batch=16, cache=cache, **COUNT)
    (file,) = cache.iterdir()
    file.write_bytes(damage)
    again = real_features(rows, judge, batch=16, cache=cache, **COUNT)
    assert judge.network.images_seen == 120
    assert torch.equal(first["pooled"], again["pooled"])


def test_nonfinite_features_stop_the_measurement() -> None:
    class Broken(nn.Module):
        def forward(self, image):
            return {"pooled": image.mean((2, 3)) / 0}

    with pytest.raises(NonFiniteError, match="pooled"):
        features_of(Broken(), np.full((1, 8, 8, 3), 200, np.uint8))
