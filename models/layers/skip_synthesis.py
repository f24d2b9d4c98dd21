"""The skip architecture: blocks of doubling resolution, each adding to the image so far.

By Karras et al. 2020, section 4.1.

Legend: N samples, D width of w, L entries of w, K entries a block reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.layers.noise import NoisyLayer, layer_noises


class Block(Protocol):
    """One resolution; its ToRGB reads the entry that the next block's first layer reads too."""

    resolution: int
    num_convs: int

    def noisy_layers(self) -> Sequence[NoisyLayer]:
        """Return the layers that take noise, in order."""

    def __call__(
        self,
        x_NCHW: Tensor | None,
        image_N3HW: Tensor | None,
        ws_NKD: Tensor,
        noises: list[Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        """Return the features and the image so far, at this block's resolution."""


class SkipSynthesis(nn.Module):
    """ws -> image by blocks; a family fills `blocks` and may give an `input`.

    Args:
        blocks: resolution -> block, from the lowest resolution up.
        constant: w [N, D] -> the first features; None if the first block makes its own.

    Attributes:
        num_ws: L.
        checkpoint_activations: recompute each block in the backward pass instead of storing it.
    """

    def __init__(self, blocks: dict[str, nn.Module], constant: nn.Module | None = None) -> None:
        super().__init__()
        self.checkpoint_activations = False
        self.input = constant
        self.blocks = nn.ModuleDict(blocks)
        self.num_ws = 1 + sum(block.num_convs for block in self.each_block())

    def forward(self, ws_NLD: Tensor, noise: Any = "const") -> Tensor:
        """Return images [N, 3, H, W], float32.

        Args:
            ws_NLD: codes, one entry per layer.
            noise: "const" (stored buffers), "none", or one tensor per noisy layer.
        """
        x: Tensor | None = None if self.input is None else self.input(ws_NLD[:, 0])
        image: Tensor | None = None
        used, noises = 0, layer_noises(self._noisy_layers(), noise)
        for block in self.each_block():
            ws_NKD = ws_NLD[:, used : used + block.num_convs + 1]
            count = len(block.noisy_layers())
            own, noises = noises[:count], noises[count:]
            if self.checkpoint_activations and torch.is_grad_enabled():
                x, image = checkpoint(
                    block, x, image, ws_NKD, own, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x, image = block(x, image, ws_NKD, own)
            used += block.num_convs
        assert image is not None
        return image

    def each_block(self) -> list[Block]:
        """Return the blocks from the lowest resolution up."""
        return cast("list[Block]", list(self.blocks.values()))

    def noise_sizes(self) -> list[int]:
        """Return the resolution of each noisy layer, in order."""
        return [b.resolution for b in self.each_block() for _ in b.noisy_layers()]

    def _noisy_layers(self) -> list[NoisyLayer]:
        return [layer for block in self.each_block() for layer in block.noisy_layers()]
