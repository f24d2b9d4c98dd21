"""Random, frozen projections of a feature pyramid: mixing across channels, then across scales.

Sauer et al. 2021, "Projected GANs Converge Faster", section 3.2.

The weights are buffers: never trained, but saved, broadcast and kept with the discriminator, which
learns to read this one projection.

Legend: N samples, C channels of a map, H W pixels. Maps go from the largest (index 0) down, each
half as wide as the one before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_SCALES = 4


class FrozenConv(nn.Module):
    """Convolution with bias whose random weights never change (torch's default distribution).

    Args:
        in_channels, out_channels: I, O.
        kernel_size: odd.
        rng: generator on the CPU that the weights come from.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, rng: torch.Generator
    ) -> None:
        super().__init__()
        bound = (in_channels * kernel_size**2) ** -0.5

        def draw(*shape: int) -> Tensor:
            drawn = torch.rand(shape, generator=rng, device="cpu") * (2 * bound) - bound
            return torch.empty(shape).copy_(drawn)  # where the module is built

        self.register_buffer("weight", draw(out_channels, in_channels, kernel_size, kernel_size))
        self.register_buffer("bias", draw(out_channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map [N, I, H, W] to [N, O, H, W], zeros outside."""
        return F.conv2d(x_NCHW, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class ScaleMixing(nn.Module):
    """One step of the mixing across scales: add, double (bilinear, corners aligned), convolve.

    Args:
        in_channels, out_channels: I, O.
        kernel_size: 1 as published, 3 as in the paper.
        rng: see `FrozenConv`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, rng: torch.Generator
    ) -> None:
        super().__init__()
        self.conv = FrozenConv(in_channels, out_channels, kernel_size, rng)
        self.pointwise = kernel_size == 1

    def forward(self, deep_NCHW: Tensor, skip_NCHW: Tensor | None = None) -> Tensor:
        """Map [N, I, H, W] to [N, O, 2H, 2W]; `skip` has the shape of `deep`."""
        x = deep_NCHW if skip_NCHW is None else deep_NCHW + skip_NCHW
        # A pointwise convolution commutes with interpolation, whose weights sum to one: the same
        # result at a quarter of the cost.
        return _double(self.conv(x)) if self.pointwise else self.conv(_double(x))


def _double(x_NCHW: Tensor) -> Tensor:
    return F.interpolate(x_NCHW, scale_factor=2, mode="bilinear", align_corners=True)


class FeatureProjection(nn.Module):
    """Four maps -> four maps.

    Args:
        channels: of the four maps.
        level: 0 passes the maps on, 1 mixes channels, 2 mixes channels and scales, which also
            doubles the maps.
        width: channels of the largest map after the mixing.
        expand: wider maps where they are smaller: 1, 2, 4, 8 times `width` after the mixing of
            channels, 1, 1, 2, 4 times after the mixing of scales; False = the same everywhere.
        kernel_size: of the mixing across scales.
        seed: of the random weights.

    Attributes:
        out_channels: of the four maps that come out.
        scale: by which the maps are enlarged.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        level: int = 2,
        width: int = 64,
        expand: bool = True,
        kernel_size: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(channels) != NUM_SCALES:
            raise ValueError(f"wanted the channels of {NUM_SCALES} maps, got {list(channels)}")
        rng = torch.Generator().manual_seed(seed)
        self.channel_mixing, self.scale_mixing = nn.ModuleList(), nn.ModuleList()
        self.out_channels, self.scale = list(channels), 1
        if level >= 1:
            widths = [width * 2**i if expand else width for i in range(NUM_SCALES)]
            self.channel_mixing.extend(
                FrozenConv(before, after, 1, rng)
                for before, after in zip(channels, widths, strict=True)
            )
            self.out_channels = widths
        if level >= 2:
            # Each step hands the next larger map its own width; the last one keeps it.
            mixed = [widths[0], *widths[:-1]]
            self.scale_mixing.extend(
                ScaleMixing(before, after, kernel_size, rng)
                for before, after in zip(widths, mixed, strict=True)
            )
            self.out_channels, self.scale = mixed, 2

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the projected maps, largest first."""
        mixed = list(maps)
        if self.channel_mixing:
            mixed = [conv(x) for conv, x in zip(self.channel_mixing, maps, strict=True)]
        if not self.scale_mixing:
            return mixed
        out: list[Tensor] = []
        for step, x in zip(reversed(self.scale_mixing), reversed(mixed), strict=True):
            out.insert(0, step(out[0], x) if out else step(x))
        return out
