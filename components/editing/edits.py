"""An edit: where it starts, and what is added at strength 1; drawn at any strength.

Legend: N images, L entries of ws, D width of w, C channels of a style, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from components.editing.clip_text import ClipText, cosines
from components.errors import ConfigError
from components.sampling import evaluation_mode, to_uint8
from models.interfaces import Condition

CODES = "ws"
"""The one key of an edit in codes; an edit in styles has the layers' names."""
SHORT = 0.3  # length of a way at which a third of its cosine is missing; drawings differ by 0.9


@dataclass(frozen=True)
class Edit:
    """A change of a code [1, L, D] or of all styles [1, C].

    Attributes:
        start: CODES, or layer -> value.
        change: the same keys -> what strength 1 adds.
    """

    start: Mapping[str, Tensor]
    change: Mapping[str, Tensor]

    def at(self, strengths: Sequence[float]) -> dict[str, Tensor]:
        """Return the values at every strength, [N, ...]."""
        first = next(iter(self.start.values()))
        scale_N = torch.tensor(list(strengths), dtype=first.dtype, device=first.device)
        return {
            name: x + scale_N.view(-1, *[1] * (x.ndim - 1)) * self.change[name]
            for name, x in self.start.items()
        }


def by_turns(condition: Condition, numbers: Sequence[int]) -> Condition:
    """Return a row of a condition for each number; beyond its last row it begins again."""
    counts = [len(x) for x in vars(condition).values() if x is not None]
    count = counts[0] if counts else 1
    return condition[[number % count for number in numbers]]


def draw_values(generator: Any, values: Mapping[str, Tensor], condition: Condition) -> Tensor:
    """Return images [N, 3, H, W] of codes or of styles; differentiable."""
    image: Tensor
    if CODES in values:
        image = generator.synthesize(values[CODES], condition, noise="const")
    else:
        image = generator.synthesize_from_styles(values, condition, noise="const")
    return image


def draw(
    generator: Any, edit: Edit, condition: Condition, strengths: Sequence[float]
) -> np.ndarray:
    """Return the edited image at every strength, uint8 [N, H, W, 3].

    Args:
        generator: implements `models.interfaces.Generator`.
        edit: of one image.
        condition: one row.
        strengths: 0 is the unedited image, 1 the edit.

    Raises:
        NonFiniteError: the generator gave NaN or infinity.
    """
    rows = condition[[0] * len(strengths)]
    with torch.inference_mode(), evaluation_mode(generator):
        return to_uint8(draw_values(generator, edit.at(strengths), rows))


def styles_of(generator: Any, ws_NLD: Tensor) -> dict[str, Tensor]:
    """Return layer -> style of codes; ConfigError for a family that has none."""
    if not hasattr(generator, "styles"):
        raise ConfigError("this family has no styles", "space s", "edit in w or w+")
    try:
        found: dict[str, Tensor] = generator.styles(ws_NLD)
    except ValueError as error:
        raise ConfigError(str(error).partition(":")[0], "space s", "edit in w or w+") from error
    return found


def identity_term(net: Any, start_1CHW: Tensor, weight: float) -> Callable[[Tensor], Tensor]:
    """Return image -> weighted 1 minus the cosine of its pooled features with the start's."""

    def features(image: Tensor) -> Tensor:
        return F.normalize(net(image)["pooled"], dim=1)

    with torch.no_grad():
        before_NE = features(start_1CHW)
    return lambda image: weight * (1 - (features(image) * before_NE).sum(dim=1))


def direction_term(
    clip: ClipText, start_NCHW: Tensor, direction_E: Tensor, weight: float
) -> Callable[[Tensor], Tensor]:
    """Return image -> weighted 1 minus the cosine of the way CLIP saw it go with a direction.

    The cosine of a short way counts less, so that the image goes far, and the first steps do not
    follow the enormous gradient that the direction of next to nothing has (Adam would remember it).

    Args:
        clip: whose eyes count.
        start_NCHW: the images before.
        direction_E: from `ClipText.direction`, or one for each image [N, E].
        weight: of the term.
    """
    with torch.no_grad():
        before_NE = clip.images(start_NCHW)

    def term(image_NCHW: Tensor) -> Tensor:
        moved_NE = clip.images(image_NCHW) - before_NE
        length_N = (moved_NE.square().sum(dim=1) + SHORT**2).sqrt()
        return weight * (1 - cosines(moved_NE, direction_E) / length_N)

    return term
