"""Distances between two sets of feature vectors, all in float64.

Frechet distance: Heusel et al. 2017 (arXiv 1706.08500), equation 6. Kernel distance: Binkowski et
al. 2018 (arXiv 1801.01401), section 4.1. Precision and recall: Kynkaanniemi et al. 2019 (arXiv
1904.06991), equations 1 and 2. Density and coverage: Naeem et al. 2020 (arXiv 2002.09797),
equations 3 and 5.
Legend: N real images, M generated images, D feature width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

BLOCK_VALUES = 2**25  # numbers of a matrix that are in memory at once, however many images: 256 MiB


@dataclass(frozen=True)
class Moments:
    """Mean [D] and unbiased covariance [D, D] of `count` feature vectors, float64.

    root_RD: F with F^T F the covariance, when it is known: that of few vectors is the vectors.
    """

    mean_D: Tensor
    covariance_DD: Tensor
    count: int
    root_RD: Tensor | None = None

    @classmethod
    def of(cls, features_ND: Tensor) -> Moments:
        """Return the moments of at least two feature vectors."""
        count, width = features_ND.shape
        if count < 2:
            raise ValueError(f"{count} feature vectors: a covariance needs at least 2")
        mean_D = features_ND.sum(0, dtype=torch.float64) / count
        scatter_DD = torch.zeros(width, width, dtype=torch.float64)
        for rows in features_ND.split(block_rows(width)):
            centred = rows.double() - mean_D
            scatter_DD += centred.T @ centred
        root_ND = None
        if count <= width:
            root_ND = (features_ND.double() - mean_D) / (count - 1) ** 0.5
        return cls(mean_D, scatter_DD / (count - 1), count, root_ND)

    @cached_property
    def factor_RD(self) -> Tensor:
        """F [rank, D], F^T F the covariance; directions of pure rounding are dropped."""
        if self.root_RD is not None:
            return self.root_RD
        values_D, vectors_DD = torch.linalg.eigh(self.covariance_DD)
        rounding = values_D.max().clamp(min=0) * len(values_D) * torch.finfo(torch.float64).eps
        kept = values_D > rounding
        return values_D[kept].sqrt()[:, None] * vectors_DD[:, kept].T


def frechet_distance(first: Moments, second: Moments) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), at least 0.

    With C = F^T F for both, tr (C1 C2)^(1/2) is the sum of the singular
    values of F1 F2^T. No matrix is inverted and no square root of a product is taken, so a
    covariance of low rank (fewer images than features) costs no accuracy.
    """
    overlap = torch.linalg.svdvals(first.factor_RD @ second.factor_RD.T)
    traces = first.covariance_DD.trace() + second.covariance_DD.trace()
    distance = (first.mean_D - second.mean_D).square().sum() + traces - 2 * overlap.sum()
    return max(0.0, float(distance))


def kernel_distance(
    real_ND: Tensor, fake_MD: Tensor, *, subset_size: int, subsets: int, seed: int
) -> float:
    """Return the squared maximum mean discrepancy under (x.y / D + 1)^3, unbiased, may be below 0.

    The mean over `subsets` random subsets of at most `subset_size` images of each side.
    """
    size = min(subset_size, len(real_ND), len(fake_MD))
    if size < 2:
        raise ValueError(f"{size} feature vectors: the kernel distance needs at least 2")
    rng = torch.Generator().manual_seed(seed)
    estimates = []
    for _ in range(subsets):
        real = real_ND[torch.randperm(len(real_ND), generator=rng)[:size]].double()
        fake = fake_MD[torch.randperm(len(fake_MD), generator=rng)[:size]].double()
        estimates.append(_squared_discrepancy(real, fake))
    return float(torch.stack(estimates).mean())


def _squared_discrepancy(real_ND: Tensor, fake_ND: Tensor) -> Tensor:
    """Unbiased: the diagonal, a vector with itself, is left out within each side (Lemma 6)."""
    size, width = real_ND.shape
    within_real = (real_ND @ real_ND.T / width + 1) ** 3
    within_fake = (fake_ND @ fake_ND.T / width + 1) ** 3
    across = (real_ND @ fake_ND.T / width + 1) ** 3
    within = within_real.sum() - within_real.trace() + within_fake.sum() - within_fake.trace()
    return within / (size * (size - 1)) - 2 * across.mean()


@dataclass(frozen=True, kw_only=True)
class Manifold:
    """How well the two sets cover each other, judged by balls that reach to the k-th neighbour.

    precision: share of generated images inside a ball of a real one. recall: share of real images
    inside a ball of a generated one. density: how many real balls hold a generated image, over k;
    may exceed 1. coverage: share of real images whose ball holds a generated one.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_scores(real_ND: Tensor, fake_MD: Tensor, *, neighbours: int = 3) -> Manifold:
    """Return precision, recall, density and coverage; each side needs more images than k."""
    smallest = min(len(real_ND), len(fake_MD))
    if smallest <= neighbours:
        raise ValueError(f"{smallest} feature vectors: {neighbours} neighbours need more")
    real_ND, fake_MD = real_ND.double(), fake_MD.double()
    real_radius_N = _radii(real_ND, neighbours)
    fake_radius_M = _radii(fake_MD, neighbours)
    inside_M = torch.zeros(len(fake_MD), dtype=torch.int64)
    recalled, covered = 0, 0
    for rows, distance in _blocks(real_ND, fake_MD):
        in_real_ball = distance <= real_radius_N[rows, None]
        inside_M += in_real_ball.sum(0)
        covered += int(in_real_ball.any(1).sum())
        recalled += int((distance <= fake_radius_M[None]).any(1).sum())
    return Manifold(
        precision=float((inside_M > 0).double().mean()),
        recall=recalled / len(real_ND),
        density=float(inside_M.double().mean() / neighbours),
        coverage=covered / len(real_ND),
    )


def _radii(features_ND: Tensor, neighbours: int) -> Tensor:
    """Distance from each vector to its k-th nearest other vector."""
    # The nearest of all is the vector itself, at distance 0: one more is asked for.
    parts = [
        distance.topk(neighbours + 1, dim=1, largest=False).values[:, -1]
        for _, distance in _blocks(features_ND, features_ND)
    ]
    return torch.cat(parts)


def _blocks(first_ND: Tensor, second_MD: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of the Euclidean distance matrix, block by block."""
    size = block_rows(len(second_MD))
    for start in range(0, len(first_ND), size):
        rows = slice(start, start + size)
        yield rows, torch.cdist(first_ND[rows], second_MD)


def block_rows(columns: int) -> int:
    """Return how many rows of a matrix are computed at once."""
    return max(1, BLOCK_VALUES // columns)
