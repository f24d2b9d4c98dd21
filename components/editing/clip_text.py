"""A frozen CLIP with the sentences that texts are put into.

Legend: N images, T templates, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.editing.clip_view import embedder
from models.editing.directions import prompt_direction
from models.editing.templates import PLAIN, filled, imagenet_templates


class ClipText:
    """Embeds images and texts into one space.

    Args:
        net: a frozen CLIP (`models.features.ClipNet`).
        templates: sentences with {} for a text; () = ImageNet's 79, or the text alone for a CLIP
            that knows a list of words and not those.
    """

    def __init__(self, net: Any, templates: Sequence[str] = ()) -> None:
        self.net = net
        if not templates:
            settings = getattr(net, "architecture", {}).get("tokenizer", {})
            templates = imagenet_templates() if settings.get("kind") == "open_clip" else PLAIN
        self.templates = tuple(templates)
        self.images = embedder(net)

    @torch.no_grad()
    def text(self, text: str) -> Tensor:
        """Return [E], of unit length: one text without a template."""
        found: Tensor = self.net.encode_text([text])[0]
        return found

    @torch.no_grad()
    def direction(self, neutral: str, target: str) -> Tensor:
        """Return [E], of unit length: from one text to another, over all templates."""
        pair = [self.net.encode_text(filled(self.templates, x)) for x in (neutral, target)]
        return prompt_direction(*pair)

    def distance(self, image_NCHW: Tensor, text_E: Tensor) -> Tensor:
        """Return [N]: 1 minus the cosine of each image with a text; differentiable.

        Args:
            image_NCHW: images.
            text_E: one text for all, or one for each [N, E].
        """
        return 1 - cosines(self.images(image_NCHW), text_E)


def cosines(unit_NE: Tensor, other_E: Tensor) -> Tensor:
    """Return [N]: products of rows with one vector for all, or with a row for each [N, E]."""
    return unit_NE @ other_E if other_E.ndim == 1 else (unit_NE * other_E).sum(dim=1)
