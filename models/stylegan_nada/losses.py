"""The losses (Gal et al. 2021, section 4.1): each [N], one value per image.

Legend: N images, E width of an embedding.
"""

from __future__ import annotations

from torch import Tensor

from models.editing.directions import along
from models.stylegan_nada.goals import Goal


def directional(before_NE: Tensor, after_NE: Tensor, direction_E: Tensor) -> Tensor:
    """Return 1 minus the cosine of the way each image went with the wanted one; 1 if it stayed."""
    return 1 - along(before_NE, after_NE, direction_E)


def to_end(after_NE: Tensor, end_E: Tensor) -> Tensor:
    """Return 1 minus the cosine with the target, one for all or one for each: the global loss."""
    return 1 - (after_NE @ end_E if end_E.ndim == 1 else (after_NE * end_E).sum(dim=1))


def angle(before_NE: Tensor, after_NE: Tensor, text_cosine: float) -> Tensor:
    """Return how far the cosine of each image with its original is from that of the two texts."""
    cosine_N = (after_NE * before_NE).sum(dim=1).clamp(-1, 1)
    return (cosine_N - text_cosine).abs()


def weighted(
    goal: Goal, before_NE: Tensor, after_NE: Tensor, weights: tuple[float, float, float]
) -> dict[str, Tensor]:
    """Return name -> loss of one CLIP, times its weight and the loss's own.

    Args:
        goal: of this CLIP.
        before_NE, after_NE: its embeddings of the original's images and of the adapted ones.
        weights: of the directional, the global and the angle loss; 0 leaves one out.
    """
    found = {}
    way, end = goal.toward(before_NE)
    if weights[0]:
        found["directional"] = directional(before_NE, after_NE, way) * weights[0]
    if weights[1]:
        found["global"] = to_end(after_NE, end) * weights[1]
    if weights[2]:
        found["angle"] = angle(before_NE, after_NE, goal.text_cosine) * weights[2]
    return {name: x * goal.weight for name, x in found.items()}
