"""Text encoder and generator as one module: what is saved, sampled, adapted and published.

Legend: N samples, Z width of z, D width of the text embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.interfaces import Condition


class TextEncoder(Protocol):
    """A frozen net that embeds prompts."""

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Return [N, D], rows of unit length."""


class AlignedGenerator(nn.Module):
    """A generator with a text encoder of its own; implements `models.interfaces.Generator`.

    Where other generators take the frozen CLIP's embedding, which comes with the data, this one
    embeds the caption's token ids itself. Discriminator and guidance keep the frozen embedding.

    Args:
        text_encoder: ids [N, T] -> embeddings [N, D] (`models.features.clip.ClipText`).
        generator: a Generator of pooled text embeddings.
    """

    def __init__(self, text_encoder: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.text_encoder: Any = text_encoder
        self.generator: Any = generator
        self.z_dim, self.resolution = self.generator.z_dim, self.generator.resolution
        give_words(self.generator, text_encoder)

    def map(self, z_NZ: Tensor, condition: Condition, truncation: float | Tensor = 1.0) -> Tensor:
        """Return ws [N, L, D] for the captions that `condition.ids_NT` holds.

        Raises:
            ValueError: the condition has no token ids.
        """
        if condition.ids_NT is None:
            raise ValueError("a model with its own text encoder wants token ids, got none")
        own = replace(condition, pooled_ND=self.text_encoder(condition.ids_NT))
        return self.generator.map(z_NZ, own, truncation)

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: Any = "const") -> Tensor:
        """Return images [N, 3, resolution, resolution] in about [-1, 1]; the text is in the ws."""
        return self.generator.synthesize(ws_NLD, condition, noise)


def give_words(generator: Any, text_encoder: Any) -> None:
    """Let a generator that attends to words read them with a text encoder; others stay as they are.

    One with a text encoder of its own has been given that one's words already.
    """
    if words := getattr(generator, "words", ""):
        generator.reader = text_encoder.word_reader(words)


class TextToImage(nn.Module):
    """Prompts to images.

    Args:
        text_encoder: a module with `encode_text` (see `TextEncoder`).
        generator: a module that implements `models.interfaces.Generator`. One that attends to words
            names them in `words`, and is given the encoder's reader of them.
    """

    def __init__(self, text_encoder: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.text_encoder: Any = text_encoder
        self.generator: Any = generator
        self.words = getattr(generator, "words", "")
        give_words(self.generator, text_encoder)

    @classmethod
    def of(cls, generator: nn.Module, text_encoder: nn.Module) -> TextToImage:
        """Join a generator with its own text encoder, if it has one, else with the given one."""
        if isinstance(generator, AlignedGenerator):
            return cls(generator.text_encoder, generator.generator)
        return cls(text_encoder, generator)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Condition:
        """Embed prompts, and read their words for a generator that attends to them."""
        pooled_ND = self.text_encoder.encode_text(list(prompts))
        if not self.words:
            return Condition(pooled_ND=pooled_ND)
        ids_NT = self.text_encoder.tokenize(list(prompts)).to(pooled_ND.device)
        found: Condition = self.generator.reader(Condition(pooled_ND=pooled_ND, ids_NT=ids_NT))
        return found

    def surplus(self, prompts: Sequence[str]) -> list[int]:
        """Return how many tokens at the end of each prompt the text encoder does not read."""
        tokenize = self.text_encoder.tokenize
        return [max(0, n - tokenize.context_length) for n in tokenize.lengths(prompts)]

    def unknown(self, prompts: Sequence[str]) -> list[list[str]]:
        """Return the words of each prompt that the text encoder never learned, each once."""
        found: list[list[str]] = self.text_encoder.tokenize.unknown(prompts)
        return found

    def forward(
        self,
        prompts: Sequence[str],
        z_NZ: Tensor,
        truncation: float | Tensor = 1.0,
        noise: Any = "const",
    ) -> Tensor:
        """Return images [N, 3, H, W], about [-1, 1] and not clamped, one per prompt.

        Raises:
            ValueError: as many prompts as rows of z are needed.
        """
        if len(prompts) != z_NZ.shape[0]:
            raise ValueError(f"got {len(prompts)} prompts for {z_NZ.shape[0]} rows of z")
        condition = self.condition(prompts).to(z_NZ.device)
        ws_NLD = self.generator.map(z_NZ, condition, truncation)
        return self.generator.synthesize(ws_NLD, condition, noise)
