"""Where CLIP wants the images to go: directions, and the ends that they lead to.

Legend: N images, T templates, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.editing.clip_view import Embed
from models.editing.directions import mean_direction, text_direction
from models.editing.templates import filled

NUM_SOURCE_IMAGES = 16  # of the original, that stand for the source of target pictures


@dataclass(frozen=True)
class Goal:
    """What one CLIP wants.

    Attributes:
        embed: images -> embeddings.
        weight: of this CLIP.
        direction_E: of unit length.
        end_E: embedding of the target, of unit length.
        text_cosine: of the two texts' mean embeddings; 0 with pictures, where it is not used.
    """

    embed: Embed
    weight: float
    direction_E: Tensor
    end_E: Tensor
    text_cosine: float


def between_texts(
    net: Any, embed: Embed, weight: float, source: str, target: str, templates: Sequence[str]
) -> Goal:
    """Return the goal of two texts; the end is the target alone, without a template."""
    source_TE = net.encode_text(filled(templates, source))
    target_TE = net.encode_text(filled(templates, target))
    means = [F.normalize(x.mean(dim=0), dim=0) for x in (source_TE, target_TE)]
    return Goal(
        embed=embed,
        weight=weight,
        direction_E=text_direction(source_TE, target_TE),
        end_E=net.encode_text([target])[0],
        text_cosine=float(means[0] @ means[1]),
    )


def to_pictures(embed: Embed, weight: float, source_NE: Tensor, pictures: Sequence[Tensor]) -> Goal:
    """Return the goal of a few pictures.

    Args:
        embed: images -> embeddings.
        weight: of this CLIP.
        source_NE: embeddings of the original's images, or of other pictures.
        pictures: each [1, 3, H, W] in [-1, 1].
    """
    target_NE = torch.cat([embed(picture.to(source_NE.device)) for picture in pictures])
    return Goal(
        embed=embed,
        weight=weight,
        direction_E=mean_direction(source_NE, target_NE),
        end_E=F.normalize(target_NE.mean(dim=0), dim=0),
        text_cosine=0.0,
    )
