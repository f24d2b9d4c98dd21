"""CLIP guidance of a generator that reads no text: each z, with its class, stands for a sentence.

Behind a projected discriminator alone, a small generator learns what its frozen networks tell apart
at a glance; drawings without captions came out as blobs. What pictures may show is often known as
a sentence with choices. Ours, not of a paper: z makes the choices, CLIP pulls the image of z to the
sentence that comes out, and the discriminator still decides what is real. Where the data has
classes, the class asked for stands in the sentence's hole.

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
from models.projected_gan.sentence_rules import MOST_SENTENCES, num_sentences
from models.stylegan_t.generator import StyleGANTGenerator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.features.clip import ClipNet
    from models.interfaces import Condition

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


class ChoosingGenerator(StyleGANTGenerator):
    """StyleGAN-T's generator, told what z has chosen as it would be told a text: truncation leaves
    it as it is.
    """

    def __init__(self, choices: Choices, **options: Any) -> None:
        super().__init__(more_dim=sum(choices.counts), **options)
        self.choices = choices

    def told(self, z_NZ: Tensor, condition: Condition) -> Tensor:
        """Return [N, E]: the class, if there is one, then what z chose, each of unit length."""
        marked_NO = F.normalize(self.choices.marked(self.choices(z_NZ)), dim=1)
        vector_NE = super().told(z_NZ, condition)
        return marked_NO if vector_NE is None else torch.cat([vector_NE, marked_NO], dim=1)


def sentences_of(clip: ClipNet, template: str, z_dim: int, classes: Sequence[str]) -> Sentences:
    """Return what stands for each z and class.

    Raises:
        ValueError: more sentences than CLIP should embed.
    """
    found = num_sentences(template) * max(len(classes), 1)
    if found > MOST_SENTENCES:
        what = f"sentence: got {found:,} with all classes"
        raise ValueError(f"{what}; allowed: at most {MOST_SENTENCES:,}")
    return Sentences(clip, template, z_dim, classes)


class Sentences(nn.Module):
    """Each z and its class -> CLIP's embedding of the sentence they stand for.

    Args:
        clip: embeds every sentence, once.
        template: the sentence with choices, and with {} for a class.
        z_dim: Z.
        classes: names of the data's classes; () = none.
    """

    def __init__(
        self, clip: ClipNet, template: str, z_dim: int, classes: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.choices = Choices(template, z_dim)
        every = alternatives([template])
        self.per_class = len(every)
        texts = [sentence.replace("{}", name) for name in classes or ("",) for sentence in every]
        with torch.no_grad():
            embeddings_SE = clip.encode_text(texts).float().cpu()
        self.embedding = nn.Embedding.from_pretrained(embeddings_SE)

    def forward(self, z_NZ: Tensor, label_N: Tensor | None) -> Tensor:
        """Return [N, E]."""
        row_N = self.choices.rows(self.choices(z_NZ))
        if label_N is not None:
            row_N = row_N + label_N * self.per_class
        wanted_NE: Tensor = self.embedding(row_N)
        return wanted_NE
