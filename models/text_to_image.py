"""Text encoder and generator as one module: what is saved, sampled, adapted and published.

Legend: N samples, Z width of z, D width of the text embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from models.interfaces import Condition


class TextEncoder(Protocol):
    """A frozen net that embeds prompts."""

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Return [N, D], rows of unit length."""


class TextToImage(nn.Module):
    """Prompts to images.

    Args:
        text_encoder: a module with `encode_text` (see `TextEncoder`).
        generator: a module that implements `models.interfaces.Generator`.
    """

    def __init__(self, text_encoder: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        self.text_encoder: Any = text_encoder
        self.generator: Any = generator

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Condition:
        """Embed prompts."""
        return Condition(pooled_ND=self.text_encoder.encode_text(list(prompts)))

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
