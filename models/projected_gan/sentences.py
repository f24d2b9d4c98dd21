"""CLIP guidance of a generator that reads no text: each z stands for a sentence.

Behind a projected discriminator alone, a small generator learns what its frozen networks tell apart
at a glance; drawings without captions came out as blobs. What pictures may show is often known as
a sentence with choices. Ours, not of a paper: z makes the choices, CLIP pulls the image of z to the
sentence that comes out, and the discriminator still decides what is real.

Legend: N samples, K choices, O options of all of them, S sentences, E width of CLIP's embeddings,
Z width of z.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.editing.templates import alternatives, pieces
from models.layers.style_mapping import StyleMapping

if TYPE_CHECKING:
    from models.features.clip import ClipNet

_SEED = 0  # of the directions, apart from the run's


class Choices(nn.Module):
    """What z chooses of a template: "a [small|large] ring" has one choice with two options.

    Each option has a direction, fixed and random. Of the options of one choice, z takes the one
    along whose direction it points most: each about equally often, whatever the others are.
    """

    def __init__(self, template: str, z_dim: int) -> None:
        super().__init__()
        self.counts = [len(found) for found in pieces(template) if len(found) > 1]
        draws = torch.Generator().manual_seed(_SEED)
        directions_OZ = torch.randn(sum(self.counts), z_dim, generator=draws)
        self.register_buffer("directions_OZ", F.normalize(directions_OZ, dim=1))

    def forward(self, z_NZ: Tensor) -> Tensor:
        """Return [N, K]: the number of the option that z takes of each choice."""
        along_NO = z_NZ @ cast("Tensor", self.directions_OZ).T
        parts = along_NO.split(self.counts, dim=1)
        return torch.stack([part.argmax(dim=1) for part in parts], dim=1)

    def marked(self, chosen_NK: Tensor) -> Tensor:
        """Return [N, O]: 1 for every option that is taken, 0 for the others."""
        parts = zip(chosen_NK.unbind(dim=1), self.counts, strict=True)
        return torch.cat([F.one_hot(of_one, count) for of_one, count in parts], dim=1).float()

    def rows(self, chosen_NK: Tensor) -> Tensor:
        """Return [N]: the number of the sentence among all, the last choice changing fastest."""
        row_N = torch.zeros_like(chosen_NK[:, 0])
        for of_one, count in zip(chosen_NK.unbind(dim=1), self.counts, strict=True):
            row_N = row_N * count + of_one
        return row_N


class ChoosingMapping(StyleMapping):
    """A mapping network that reads beside z what z has chosen."""

    def __init__(self, choices: Choices, z_dim: int, w_dim: int, **options: Any) -> None:
        super().__init__(z_dim, w_dim, vector_dim=sum(choices.counts), **options)
        self.choices = choices

    def forward(
        self, z_NZ: Tensor, vector_NE: Tensor | None = None, label_N: Tensor | None = None
    ) -> Tensor:
        """Return w [N, D]; there is no condition, so no vector."""
        return super().forward(z_NZ, self.choices.marked(self.choices(z_NZ)), label_N)


def embedded(clip: ClipNet, template: str) -> nn.Embedding:
    """Return number of a sentence -> its embedding by CLIP, for all sentences of a template."""
    with torch.no_grad():
        embeddings_SE = clip.encode_text(alternatives([template])).float().cpu()
    return nn.Embedding.from_pretrained(embeddings_SE)
