"""Directions between embeddings, and the style channels that move along one.

Gal et al. 2021 (arXiv 2108.00946), section 4; Patashnik et al. 2021 (arXiv 2103.17249), section 6.

Legend: N images, T texts, E width of an embedding, C style channels, I images per channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# Length below which a difference of embeddings counts as none: an unchanged image gets a loss of 1
# and a gradient of bounded length, where a division by its length would give NaN.
SHORTEST = 1e-5


def unit(x_NE: Tensor) -> Tensor:
    """Scale rows to length 1; a row of zeros stays zero, with a finite gradient."""
    return x_NE * (x_NE.square().sum(dim=-1, keepdim=True) + SHORTEST**2).rsqrt()


def text_direction(source_TE: Tensor, target_TE: Tensor) -> Tensor:
    """Return [E], of unit length: the mean difference of two texts in the same T templates."""
    source_TE, target_TE = F.normalize(source_TE, dim=1), F.normalize(target_TE, dim=1)
    return F.normalize((target_TE - source_TE).mean(dim=0), dim=0)


def mean_direction(source_NE: Tensor, target_NE: Tensor) -> Tensor:
    """Return [E], of unit length: from the mean of one set of embeddings to that of another."""
    source_E = F.normalize(source_NE, dim=1).mean(dim=0)
    return F.normalize(F.normalize(target_NE, dim=1).mean(dim=0) - source_E, dim=0)


def prompt_direction(neutral_TE: Tensor, target_TE: Tensor) -> Tensor:
    """Return [E], of unit length: between the unit means of two texts in T templates."""
    neutral_E = F.normalize(F.normalize(neutral_TE, dim=1).mean(dim=0), dim=0)
    target_E = F.normalize(F.normalize(target_TE, dim=1).mean(dim=0), dim=0)
    return F.normalize(target_E - neutral_E, dim=0)


def along(before_NE: Tensor, after_NE: Tensor, direction_E: Tensor) -> Tensor:
    """Return [N]: the cosine of what each embedding moved by with a direction of unit length, one
    for all [E] or one for each [N, E].
    """
    moved_NE = unit(after_NE - before_NE)
    return moved_NE @ direction_E if direction_E.ndim == 1 else (moved_NE * direction_E).sum(dim=1)


def channel_directions(features_CI2E: Tensor) -> Tensor:
    """Return [C, E], of unit length: where CLIP sees each style channel move the image.

    Args:
        features_CI2E: embeddings of I images with the channel lowered, and with it raised.
    """
    low_CIE, high_CIE = F.normalize(features_CI2E, dim=-1).unbind(dim=2)
    moved_CIE = F.normalize(high_CIE - low_CIE, dim=-1)
    return F.normalize(moved_CIE.mean(dim=1), dim=-1)


@dataclass(frozen=True)
class Selection:
    """Which channels an edit moves, and how far at strength 1.

    Attributes:
        move_C: in units of each channel's deviation; 0 for a channel that stays.
        relevance_C: cosine of each channel's direction with the text's.
    """

    move_C: Tensor
    relevance_C: Tensor

    @property
    def count(self) -> int:
        """How many channels move."""
        return int((self.move_C != 0).sum())


def select_channels(
    direction_CE: Tensor, text_E: Tensor, *, beta: float = 0.0, top: int = 0
) -> Selection:
    """Return the channels that move with a text.

    Args:
        direction_CE: from `channel_directions`.
        text_E: from `prompt_direction`.
        beta: least size of the relevance.
        top: move so many of the most relevant channels at most; 0 = all above beta.

    Raises:
        ValueError: no channel is that relevant; says which beta would choose some.
    """
    relevance_C = direction_CE @ text_E
    size_C = relevance_C.abs()
    largest = float(size_C.max())
    chosen_C = size_C >= beta
    if not largest > 0 or not bool(chosen_C.any()):
        twenty = float(size_C.sort(descending=True).values[:20].min())
        raise ValueError(
            f"beta {beta:g} selects no channel: the most relevant of {len(size_C)} has "
            f"{largest:.3g}; a beta of {twenty:.3g} would select {min(20, len(size_C))}"
        )
    if top:
        rank_C = torch.zeros_like(size_C).scatter_(
            0, size_C.argsort(descending=True, stable=True)[:top], 1.0
        )
        chosen_C = chosen_C & (rank_C > 0)
    return Selection(torch.where(chosen_C, relevance_C / largest, 0.0), relevance_C)
