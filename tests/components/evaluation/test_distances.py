"""Distances against closed forms, scipy, torchmetrics, torch-fidelity and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from components.evaluation import distances
from components.evaluation.distances import (
    Moments,
    frechet_distance,
    kernel_distance,
    manifold_scores,
)


def _normal(count: int, width: int, seed: int, scale: float = 1.0, shift: float = 0.0):
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(seed + 1))
    return (torch.randn(count, width, generator=rng) @ mixing) * scale + shift


@pytest.mark.row("E1")
def test_frechet_is_the_closed_form_of_two_gaussians_with_common_axes() -> None:
    axes, _ = torch.linalg.qr(
        torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double()
    )
    first = torch.tensor([4.0, 1.0, 0.25, 9.0, 0.0, 1e-9], dtype=torch.float64)
    second = torch.tensor([1.0, 1.0, 4.0, 0.0, 2.0, 1e-9], dtype=torch.float64)
    means = torch.zeros(6).double(), torch.arange(6).double()
    moments = [
        Moments(mean, axes @ torch.diag(values) @ axes.T, 10)
        for mean, values in zip(means, (first, second), strict=True)
    ]
    expected = float(means[1].square().sum() + (first.sqrt() - second.sqrt()).square().sum())
    assert frechet_distance(*moments) == pytest.approx(expected, rel=1e-9)


@pytest.mark.row("E1")
@pytest.mark.parametrize("count", [500, 40])  # 40 images of 64 dimensions: low rank
def test_frechet_agrees_with_scipy(count: int) -> None:
    real, fake = _normal(count, 64, 1), _normal(count, 64, 5, scale=1.5, shift=0.3)
    ours = frechet_distance(Moments.of(real), Moments.of(fake))
    x, y = real.double().numpy(), fake.double().numpy()
    covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    if count > 64:
        root_trace = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real.trace()
    else:  # sqrtm loses half the digits on a singular product; the data's nuclear norm does not
        centred = (x - x.mean(0)) @ (y - y.mean(0)).T / (count - 1)
        root_trace = scipy.linalg.svdvals(centred).sum()
    expected = (
        ((x.mean(0) - y.mean(0)) ** 2).sum() + sum(c.trace() for c in covariances) - 2 * root_trace
    )
    assert ours == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [400, 20])
def test_identical_sets_are_at_distance_zero(count: int) -> None:
    features = _normal(count, 64, 3, scale=10)
    moments = Moments.of(features)
    assert frechet_distance(moments, moments) <= 1e-6 * float(moments.covariance_DD.trace())
    assert frechet_distance(moments, Moments.of(features + 1)) == pytest.approx(64, rel=1e-4)


class _Flat(nn.Module):
    """A feature net that torchmetrics accepts: uint8 images -> 24 fixed numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 24
        weights = torch.randn(48, 24, generator=torch.Generator().manual_seed(9)) / 100
        self.register_buffer("weights", weights)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).float() @ self.weights


def test_frechet_and_kernel_agree_with_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    rng = np.random.default_rng(0)
    real = torch.from_numpy(rng.integers(0, 256, (200, 3, 4, 4)).astype(np.uint8))
    fake = torch.from_numpy(rng.integers(60, 220, (200, 3, 4, 4)).astype(np.uint8))
    net = _Flat()
    fid = FrechetInceptionDistance(feature=net, input_img_size=(3, 4, 4))
    kid = KernelInceptionDistance(feature=net, subsets=1, subset_size=200)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(fake, real=False)
    x, y = net(real), net(fake)
    ours = frechet_distance(Moments.of(x), Moments.of(y))
    assert ours == pytest.approx(float(fid.compute()), rel=1e-4)
    ours = kernel_distance(x, y, subset_size=200, subsets=1, seed=0)
    assert ours == pytest.approx(float(kid.compute()[0]), rel=1e-3)


@pytest.mark.row("E1", "E2")
def test_all_shared_measures_agree_with_torch_fidelity() -> None:
    """On fixed random features: its own functions, given ours in float64."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    real = _normal(300, 16, 1).double()
    fake = _normal(260, 16, 5, scale=0.8, shift=0.3).double()
    statistics = (fid_features_to_statistics(x) for x in (fake, real))
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(Moments.of(real), Moments.of(fake)) == pytest.approx(theirs, rel=1e-6)

    some = {"kid_subsets": 1, "kid_subset_size": 260, "verbose": False}
    theirs = kid_features_to_metric(fake, real[:260], **some)["kernel_inception_distance_mean"]
    ours = kernel_distance(real[:260], fake, subset_size=260, subsets=1, seed=0)
    assert ours == pytest.approx(theirs, rel=1e-9)

    theirs = prc_features_to_metric(fake, real, prc_neighborhood=3, verbose=False)
    ours = manifold_scores(real, fake, neighbours=3)
    assert 0.05 < ours.precision < 0.95 or 0.05 < ours.recall < 0.95
    assert ours.precision == pytest.approx(theirs["precision"], rel=1e-6)
    assert ours.recall == pytest.approx(theirs["recall"], rel=1e-6)


class _Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, torch.Tensor):
                self.values = max(self.values, x.numel())
        return out


def test_memory_is_bounded_and_blocks_change_nothing(monkeypatch) -> None:
    real, fake = _normal(2000, 8, 1), _normal(2500, 8, 5, scale=1.2)
    monkeypatch.setattr(distances, "BLOCK_VALUES", 2**30)
    with _Largest() as at_once:
        direct, moments = manifold_scores(real, fake), Moments.of(fake)
    assert at_once.values == 2500 * 2500
    monkeypatch.setattr(distances, "BLOCK_VALUES", 2**16)
    with _Largest() as blocks:
        blocked, in_blocks = manifold_scores(real, fake), Moments.of(fake)
    assert blocks.values <= 2**16
    assert blocked == direct
    torch.testing.assert_close(in_blocks.covariance_DD, moments.covariance_DD, rtol=1e-12, atol=0)
    # As shipped, 30,000 against 40,504 images take this many numbers at once.
    monkeypatch.undo()
    assert distances.block_rows(40_504) * 40_504 <= 2**25


def test_kernel_distance_of_equal_distributions_is_zero_on_average() -> None:
    values = [
        kernel_distance(_draw(2 * i), _draw(2 * i + 1), subset_size=20, subsets=1, seed=0)
        for i in range(300)
    ]
    error = np.std(values) / math.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    # The biased estimate of the same draws is far above zero: the test can tell the two apart.
    kernel = [(_draw(2 * i) ** 2).mean(1).add(1).pow(3).mean() for i in range(300)]
    assert 2 * float(np.mean(kernel)) / 20 > 20 * error


def _draw(seed: int) -> torch.Tensor:
    return torch.randn(20, 8, generator=torch.Generator().manual_seed(seed + 100))


def test_kernel_distance_sees_a_shift_and_is_seeded() -> None:
    near, far = _normal(300, 8, 1), _normal(300, 8, 1, shift=2.0)
    settings = {"subset_size": 50, "subsets": 10}
    first = kernel_distance(near, far, seed=1, **settings)
    assert first == kernel_distance(near, far, seed=1, **settings)
    assert first != kernel_distance(near, far, seed=2, **settings)
    assert first > 1.0


def test_manifold_scores_on_constructed_sets() -> None:
    left = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    right = left + 100
    real = torch.cat([left, right])
    same = manifold_scores(real, real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    # Only one of two modes: all that is made is real, half of what is real is made.
    half = manifold_scores(real, left + 1e-6)
    assert half.precision == 1
    assert half.recall == pytest.approx(0.5)
    assert half.coverage == pytest.approx(0.5)
    # Half of what is made is nowhere near.
    wrong = manifold_scores(real, torch.cat([real, real + 1e4]))
    assert wrong.precision == pytest.approx(0.5)
    assert wrong.recall == 1
    far = manifold_scores(real, real + 1e4)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_manifold_scores_equal_brute_force() -> None:
    rng = np.random.default_rng(3)
    real, fake, k = rng.normal(size=(50, 3)), rng.normal(size=(40, 3)) * 1.3, 4

    def radii(points: np.ndarray) -> np.ndarray:
        return np.array([sorted(np.linalg.norm(points - p, axis=1))[k] for p in points])

    across = np.linalg.norm(real[:, None] - fake[None], axis=2)
    in_real = across <= radii(real)[:, None]
    scores = manifold_scores(torch.from_numpy(real), torch.from_numpy(fake), neighbours=k)
    assert scores.precision == pytest.approx(in_real.any(0).mean())
    assert scores.recall == pytest.approx((across <= radii(fake)[None]).any(1).mean())
    assert scores.density == pytest.approx(in_real.sum() / (k * 40))
    assert scores.coverage == pytest.approx(in_real.any(1).mean())


def test_too_few_images_are_refused() -> None:
    one = torch.zeros(1, 4)
    with pytest.raises(ValueError, match="at least 2"):
        Moments.of(one)
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance(one, one, subset_size=5, subsets=1, seed=0)
    with pytest.raises(ValueError, match="neighbours need more"):
        manifold_scores(torch.zeros(3, 4), torch.zeros(9, 4))
