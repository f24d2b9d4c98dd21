"""The start of the search for a code: statistics of codes, the nearest code, and the class.

Legend: N codes, L layers, D width of a code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.inversion.distance import ImageDistance
from components.requests.inversion import InversionConfig
from components.sampling import device_of, evaluation_mode
from models.interfaces import Condition

_CHUNK = 1000  # codes in one pass of the mapping
_IMAGES = 16  # images in one pass of the synthesis


@dataclass(frozen=True)
class CodeSpace:
    """What a generator's codes for one condition look like.

    Attributes:
        mean_LD: their mean.
        distance: root mean square of a code's distance to it, in one layer.
        moves_LD: where z moves them; elsewhere stands the condition, and inversion leaves it alone.
        candidates_NLD: some of them.
    """

    mean_LD: Tensor
    distance: float
    moves_LD: Tensor
    candidates_NLD: Tensor


@torch.no_grad()
def code_space(generator: Any, condition: Condition, config: InversionConfig) -> CodeSpace:
    """Map much noise; the condition has one row. A function of the seed alone."""
    rng, device = torch.Generator().manual_seed(config.seed), device_of(generator)
    z_ND = torch.randn(config.samples, generator.z_dim, generator=rng)
    total_LD = square_LD = torch.zeros(())
    candidates: list[Tensor] = []
    first_1LD: Tensor | None = None
    with evaluation_mode(generator):
        for part in z_ND.split(_CHUNK):
            ws_NLD = generator.map(part.to(device), condition[[0] * len(part)].to(device), 1.0)
            if first_1LD is None:
                first_1LD = ws_NLD[:1].double()
            # Around the first code, so that what does not move has no rounding either.
            gap = ws_NLD.double() - first_1LD
            total_LD = gap.sum(dim=0) + total_LD.to(gap)
            square_LD = gap.square().sum(dim=0) + square_LD.to(gap)
            missing = config.candidates - sum(len(c) for c in candidates)
            candidates.append(ws_NLD[:missing].clone())
    assert first_1LD is not None
    mean_LD = total_LD / config.samples
    variance_LD = (square_LD / config.samples - mean_LD.square()).clamp(min=0)
    return CodeSpace(
        mean_LD=(first_1LD[0] + mean_LD).float(),
        distance=float(variance_LD.sum(dim=1).mean().sqrt()),
        moves_LD=(variance_LD > 1e-8 * variance_LD.max()).float(),
        candidates_NLD=torch.cat(candidates),
    )


@torch.no_grad()
def nearest_start(
    generator: Any, condition: Condition, space: CodeSpace, distance: ImageDistance
) -> tuple[Tensor, float, float]:
    """Return the code [L, D] whose image is nearest, of the mean and the candidates; its distance
    and the mean's.
    """
    ws_NLD = torch.cat([space.mean_LD[None], space.candidates_NLD])
    found_N = torch.cat(
        [
            distance(images).total_N
            for images in _images(generator, ws_NLD, condition[[0] * len(ws_NLD)])
        ]
    )
    best = int(found_N.argmin())
    return ws_NLD[best], float(found_N[best]), float(found_N[0])


@torch.no_grad()
def guess_label(
    generator: Any, num_labels: int, distance: ImageDistance, logit_K: Tensor | None = None
) -> int:
    """Return the class of the distance's target.

    Args:
        generator: of so many classes.
        num_labels: K.
        distance: to the image.
        logit_K: which logits of the distance's net stand for the classes; None where it does not
            tell them apart: the class is taken whose mean image is nearest.
    """
    if logit_K is not None and distance.net is not None:
        return int(distance.net(distance.target_1CHW)["logits"][0, logit_K].argmax())
    device = device_of(generator)
    condition = Condition(label_N=torch.arange(num_labels, device=device))
    with evaluation_mode(generator):
        ws_NLD = generator.map(
            torch.zeros(num_labels, generator.z_dim, device=device), condition, 0.0
        )
    found = [distance(images).total_N for images in _images(generator, ws_NLD, condition)]
    return int(torch.cat(found).argmin())


def _images(generator: Any, ws_NLD: Tensor, condition: Condition) -> Iterator[Tensor]:
    with evaluation_mode(generator):
        for start in range(0, len(ws_NLD), _IMAGES):
            part = slice(start, start + _IMAGES)
            yield generator.synthesize(ws_NLD[part], condition[part], noise="const")
