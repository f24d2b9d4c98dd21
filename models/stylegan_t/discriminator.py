"""StyleGAN-T's discriminator heads, one for each tap of a frozen vision transformer.

Sauer et al. 2023, section 3.2.

The transformer is not part of this module: it is frozen, shared and never saved with a run.
`StyleGANTDiscriminator` maps its taps to logits.

Legend: N samples, L tokens, C channels of a tap, E width of the conditioning vector, M cmap_dim, T
logits of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionVector
from models.layers.equalized import LEAK, EqualizedLinear
from models.layers.local_batch_norm import LocalBatchNorm
from models.layers.precision import full_precision
from models.layers.spectral_norm import SpectralConv1d, advance_power_iteration
from models.stylegan_t.pixel_head import PixelHead

PIXELS = "pixels"  # beside the taps: the picture that the transformer saw


def seen_by(
    transformer: Any, cnn: Any, seen_N3HW: Tensor, stages: Sequence[str]
) -> dict[str, Tensor]:
    """Return what heads judge: the taps [N, C, L], PIXELS, and maps of a second network alike.

    Args:
        transformer: frozen, with taps.
        cnn: frozen, with a pyramid of maps; not asked without stages.
        seen_N3HW: pictures in [-1, 1] of the transformer's size.
        stages: maps of `cnn` that have heads.
    """
    taps = {**transformer(seen_N3HW), PIXELS: seen_N3HW}
    if stages:
        maps = cnn.pyramid(seen_N3HW, cnn.image_size)
        taps |= {stage: maps[stage].flatten(2) for stage in stages}
    return taps


def channels_of(cnn: Any, stages: Sequence[str]) -> dict[str, int]:
    """Return the channels of maps of a frozen CNN by name; it is not asked without stages."""
    known = {f"stage_{i}": c for i, c in enumerate(cnn.stage_channels)} if stages else {}
    return {stage: known[stage] for stage in stages}


class ConvolutionStage(nn.Module):
    """Spectrally normalised circular convolution, local batch norm, leaky ReLU."""

    def __init__(self, channels: int, kernel_size: int, virtual_batch: int) -> None:
        super().__init__()
        self.conv = SpectralConv1d(channels, channels, kernel_size)
        self.norm = LocalBatchNorm(channels, virtual_batch=virtual_batch)

    def forward(self, x_NLC: Tensor, parts: int) -> Tensor:
        """Map [N, L, C] to the same shape."""
        return F.leaky_relu(self.norm(self.conv(x_NLC), parts), LEAK, inplace=True)


class DiscriminatorHead(nn.Module):
    """One tap -> one logit per token, by projection on the conditioning vector.

    Args:
        channels: C.
        condition_dim: E; 0 = unconditional.
        cmap_dim: M, the width in which tokens and condition meet.
        kernel_size: of the residual convolution along the tokens.
        virtual_batch: of the local batch norms.
    """

    def __init__(
        self,
        channels: int,
        *,
        condition_dim: int,
        cmap_dim: int = 64,
        kernel_size: int = 9,
        virtual_batch: int = 8,
    ) -> None:
        super().__init__()
        self.cmap_dim = cmap_dim
        self.enter = ConvolutionStage(channels, 1, virtual_batch)
        self.residual = ConvolutionStage(channels, kernel_size, virtual_batch)
        self.classify = SpectralConv1d(channels, cmap_dim if condition_dim else 1)
        self.project = EqualizedLinear(condition_dim, cmap_dim) if condition_dim else None

    def forward(self, x_NCL: Tensor, vector_NE: Tensor | None, parts: int = 1) -> Tensor:
        """Return logits [N, L], float32.

        Args:
            x_NCL: a tap.
            vector_NE: conditioning vector; None if unconditional.
            parts: batches concatenated in N whose statistics must not mix.
        """
        x_NLC = self.enter(x_NCL.transpose(1, 2), parts)
        x_NLC = (self.residual(x_NLC, parts) + x_NLC) * math.sqrt(0.5)
        out_NLM = self.classify(x_NLC)
        if self.project is None:
            return out_NLM.squeeze(2).float()
        with full_precision(out_NLM):
            map_NM = self.project(vector_NE) / math.sqrt(self.cmap_dim)
            return (out_NLM.float() @ map_NM[:, :, None]).squeeze(2)


class StyleGANTDiscriminator(nn.Module):
    """Heads for all taps. At full size 5 heads x 196 tokens = 980 logits per sample.

    Args:
        num_taps: number of heads; the taps are named "tap_0", "tap_1", ...
        tap_dim: C of every tap.
        shape: widths that the data dictates.
        cmap_dim, kernel_size: see `DiscriminatorHead`.
        label_dim: see `ConditionVector`.
        virtual_batch: see `DiscriminatorHead`.
        pixel_head: width of the `PixelHead`; 0 = none.
        map_channels: maps of a second frozen network that get heads: name -> channels.
    """

    def __init__(
        self,
        *,
        num_taps: int,
        tap_dim: int,
        shape: ConditionShape,
        cmap_dim: int = 64,
        kernel_size: int = 9,
        label_dim: int = 0,
        virtual_batch: int = 8,
        pixel_head: int = 0,
        map_channels: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.condition = ConditionVector(shape, label_dim)

        def head(channels: int) -> DiscriminatorHead:
            return DiscriminatorHead(
                channels,
                condition_dim=self.condition.dim,
                cmap_dim=cmap_dim,
                kernel_size=kernel_size,
                virtual_batch=virtual_batch,
            )

        self.heads = nn.ModuleList(head(tap_dim) for _ in range(num_taps))
        maps = map_channels or {}
        self.map_heads = nn.ModuleDict({name: head(channels) for name, channels in maps.items()})

        self.pixel_head = PixelHead(pixel_head, self.condition.dim) if pixel_head else None

    def forward(self, taps: Mapping[str, Tensor], condition: Condition, parts: int = 1) -> Tensor:
        """Return logits [N, T], float32, of all heads side by side.

        Args:
            taps: "tap_i" -> [N, C, L]; N = parts * n, whole batches one after the other. For a
                pixel head also PIXELS -> the picture [N, 3, H, W].
            condition: of one part (n samples); every part is judged against the same.
            parts: batches concatenated in the taps, which keep their own normalisation statistics.
        """
        vector = self.condition(condition)
        if vector is not None and parts > 1:
            vector = vector.repeat(parts, 1)
        logits = [head(taps[f"tap_{i}"], vector, parts) for i, head in enumerate(self.heads)]
        # The loss is a mean over logits: repeated, each kind has as much say as all tokens.
        say = sum(part.shape[1] for part in logits)
        for name, map_head in self.map_heads.items():
            part = map_head(taps[name], vector, parts)
            logits.append(part.repeat(1, max(1, say // (len(self.map_heads) * part.shape[1]))))
        if self.pixel_head is not None:
            logits.append(self.pixel_head(taps[PIXELS], vector).expand(-1, say))
        return torch.cat(logits, dim=1)

    def advance(self) -> None:
        """Advance the power iterations of all spectral norms by one step."""
        advance_power_iteration(self)
