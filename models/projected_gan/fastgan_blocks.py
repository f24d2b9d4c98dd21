"""Blocks of the FastGAN generator, in the form that Projected GAN published.

Sauer et al. 2021; architecture of Liu et al. 2021, "Towards Faster and Stabilized GAN Training",
section 3.1.

Legend: N samples, C channels, H W pixels, Z width of z, E width of the conditioning vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.spectral_norm import SpectralConv2d, SpectralConvTranspose2d
from models.layers.tracked_batch_norm import ConditionalBatchNorm, TrackedBatchNorm


class NoiseInjection(nn.Module):
    """x + strength * noise, one strength for all channels, which starts at 0.

    Args:
        resolution: of the stored noise, in pixels.
    """

    noise_const: Tensor

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))

    def forward(self, x_NCHW: Tensor, noise: Tensor | None) -> Tensor:
        """Add noise that broadcasts to [N, 1, H, W]; None adds none."""
        if noise is None:
            return x_NCHW
        return x_NCHW + (noise * self.strength).to(x_NCHW.dtype)


class FirstBlock(nn.Module):
    """z -> 4 x 4 pixels: transposed convolution, batch norm, gated linear unit.

    Args:
        z_dim: Z.
        channels: C of the result.
        virtual_batch: of the batch norm.
    """

    def __init__(self, z_dim: int, channels: int, *, virtual_batch: int) -> None:
        super().__init__()
        self.conv = SpectralConvTranspose2d(z_dim, 2 * channels, 4)
        self.norm = TrackedBatchNorm(2 * channels, virtual_batch=virtual_batch)

    def forward(self, z_NZ: Tensor) -> Tensor:
        """Map [N, Z] to [N, C, 4, 4]."""
        return F.glu(self.norm(self.conv(z_NZ[:, :, None, None])), dim=1)


class ConvStage(nn.Module):
    """Convolution to 2 C, noise, batch norm, gated linear unit to C.

    Args:
        in_channels, out_channels: widths.
        condition_dim: E; 0 = an ordinary batch norm.
        virtual_batch: of the batch norm.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, condition_dim: int, virtual_batch: int
    ) -> None:
        super().__init__()
        self.conv = SpectralConv2d(in_channels, 2 * out_channels, 3, padding=1)
        self.conditional = condition_dim > 0
        self.norm = (
            ConditionalBatchNorm(2 * out_channels, condition_dim, virtual_batch=virtual_batch)
            if self.conditional
            else TrackedBatchNorm(2 * out_channels, virtual_batch=virtual_batch)
        )

    def forward(
        self,
        x_NCHW: Tensor,
        vector_NE: Tensor,
        injection: NoiseInjection | None,
        noise: Tensor | None,
    ) -> Tensor:
        """Map features to features of the same size; vector_NE is unused if unconditional."""
        y = self.conv(x_NCHW)
        if injection is not None:
            y = injection(y, noise)
        y = self.norm(y, vector_NE) if self.conditional else self.norm(y)
        return F.glu(y, dim=1)


class UpBlock(nn.Module):
    """Doubling by nearest pixels, then two stages with noise, or one without (lite).

    Args:
        in_channels, out_channels: widths.
        resolution: of the result, in pixels.
        lite: one stage and no noise.
        condition_dim: E; 0 = unconditional. A conditional block has one noise strength for both
            stages, as published.
        virtual_batch: of the batch norms.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        resolution: int,
        lite: bool,
        condition_dim: int,
        virtual_batch: int,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        widths = [in_channels, out_channels] if lite else [in_channels, out_channels, out_channels]
        self.stages = nn.ModuleList(
            ConvStage(before, after, condition_dim=condition_dim, virtual_batch=virtual_batch)
            for before, after in pairwise(widths)
        )
        count = 0 if lite else 1 if condition_dim else 2
        self.noise = nn.ModuleList(NoiseInjection(resolution) for _ in range(count))

    def injections(self) -> list[NoiseInjection]:
        """Return the noise of each stage that has one, in order."""
        if not self.noise:
            return []
        last = len(self.noise) - 1
        return [self.noise[min(i, last)] for i in range(len(self.stages))]  # type: ignore[misc]

    def forward(self, x_NCHW: Tensor, vector_NE: Tensor, noises: Sequence[Tensor | None]) -> Tensor:
        """Map [N, I, H, W] to [N, O, 2H, 2W].

        Args:
            x_NCHW: features.
            vector_NE: conditioning vector.
            noises: one per stage with noise; empty for a lite block.
        """
        x = F.interpolate(x_NCHW, scale_factor=2, mode="nearest")
        injections = self.injections()
        for index, stage in enumerate(self.stages):
            if injections:
                x = stage(x, vector_NE, injections[index], noises[index])
            else:
                x = stage(x, vector_NE, None, None)
        return x


class SkipExcitation(nn.Module):
    """Skip-layer excitation: a gate per channel of a large map, computed from a small one
    (FastGAN, Equation 1).

    Args:
        low_channels: of the small map.
        high_channels: of the large map.
    """

    def __init__(self, low_channels: int, high_channels: int) -> None:
        super().__init__()
        self.squeeze = SpectralConv2d(low_channels, high_channels, 4)
        self.excite = SpectralConv2d(high_channels, high_channels, 1)

    def forward(self, low_NCHW: Tensor, high_NCHW: Tensor) -> Tensor:
        """Return the large map, gated.

        Args:
            low_NCHW: side a multiple of 4.
            high_NCHW: any side.
        """
        # For whole factors this is adaptive pooling to 4 x 4, with a deterministic gradient.
        pooled = F.avg_pool2d(low_NCHW, low_NCHW.shape[-1] // 4)
        return high_NCHW * self.excite(F.silu(self.squeeze(pooled))).sigmoid()
