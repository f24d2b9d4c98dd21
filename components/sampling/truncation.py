"""Truncation moves codes towards their mean, or towards the nearest of many centroids.

It acts in all layers or only in the first ones.

One mean suits data of one kind. Where there are many kinds, the mean is none of them, and drawing
towards the nearest of many centroids keeps the variety (multi-modal truncation, Mokady et al. 2022,
arXiv 2202.12211).

Legend: N samples, L layers, D width of a code, M centroids.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.errors import ConfigError
from components.requests.images import CENTROIDS_LIMIT
from components.sampling.modes import device_of, evaluation_mode
from models.interfaces import Condition
from models.layers.style_mapping import fit_centroids as k_means

SAMPLES_PER_CENTROID = 60  # published: 600,000 codes for 10,000 centroids
_CHUNK = 1000


@dataclass(frozen=True, kw_only=True)
class Towards:
    """Where truncation goes.

    Attributes:
        centroids_MD: towards the nearest of these (see `fit_centroids`); None: towards the mean.
        cutoff: in so many leading layers, from 1; None: in all.
    """

    centroids_MD: Tensor | None = None
    cutoff: int | None = None


MEAN = Towards()


def map_codes(
    generator: Any,
    z_ND: Tensor,
    condition: Condition,
    truncation: float | Tensor,
    towards: Towards = MEAN,
) -> Tensor:
    """Return the per-layer codes ws [N, L, D] of z, truncated.

    Raises:
        ConfigError: the family knows no centroids, or the generator has fewer layers than cutoff.
    """
    extra = {}
    if towards.centroids_MD is not None:
        _check_takes_centroids(generator)
        extra = {"centroids_MD": towards.centroids_MD.to(z_ND.device)}
    ws_NLD: Tensor = generator.map(z_ND, condition, truncation, **extra)
    if towards.cutoff is None:
        return ws_NLD
    layers = ws_NLD.shape[1]
    if not 1 <= towards.cutoff <= layers:
        raise ConfigError(
            f"cutoff is {towards.cutoff}", "--cutoff", f"the generator has layers 1 to {layers}"
        )
    whole_NLD = generator.map(z_ND, condition, 1.0)
    return torch.cat([ws_NLD[:, : towards.cutoff], whole_NLD[:, towards.cutoff :]], dim=1)


def fit_centroids(
    generator: Any, shape: Mapping[str, Any], number: int, *, seed: int = 0
) -> Tensor:
    """Return k-means centroids [M, D] of the codes of random noise and, with classes, random
    classes.

    Args:
        generator: of a family whose `map` takes `centroids_MD`.
        shape: the card's: widths of the text, number of classes.
        number: M, in [1, 1000]; 60 codes are drawn for each.
        seed: of the codes and of the centroids' first places.

    Raises:
        ConfigError: the number is out of range, or the family or its condition allows no centroids.
    """
    if not 1 <= number <= CENTROIDS_LIMIT:
        raise ConfigError(f"{number} centroids", "--centroids", f"use 1 to {CENTROIDS_LIMIT}")
    _check_takes_centroids(generator)
    if shape.get("pooled_dim") or shape.get("token_dim"):
        todo = "leave it out: a prompt has its own mean"
        raise ConfigError("a model of text has no centroids", "--centroids", todo)
    rng, device = torch.Generator().manual_seed(seed), device_of(generator)
    total, num_labels = number * SAMPLES_PER_CENTROID, int(shape.get("num_labels") or 0)
    z_ND = torch.randn(total, generator.z_dim, generator=rng)
    condition = Condition()
    if num_labels:
        condition = Condition(label_N=torch.randint(num_labels, (total,), generator=rng))
    w_ND = []
    with torch.no_grad(), evaluation_mode(generator):
        for start in range(0, total, _CHUNK):
            part = slice(start, start + _CHUNK)
            ws_NLD = generator.map(z_ND[part].to(device), condition[part].to(device), 1.0)
            w_ND.append(ws_NLD[:, 0].cpu())
        return k_means(torch.cat(w_ND), number, rng)


def _check_takes_centroids(generator: Any) -> None:
    if "centroids_MD" not in inspect.signature(generator.map).parameters:
        todo = "leave it out: truncation draws towards the mean"
        raise ConfigError("this family's codes know no centroids", "--centroids", todo)
