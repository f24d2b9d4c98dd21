"""Turn the tokens of a vision transformer into a feature pyramid.

StyleGAN-XL, section 3.2; the operation is that of Ranftl et al. 2021, here with random weights that
are never trained.

A transformer has one grid at every depth. Four taps become four maps, the first of 4 times the
grid's side, the last of half of it, wider where they are smaller, as a CNN's stages are.

Legend: N samples, C channels of the transformer, h w its grid, I/O channels in/out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.projected_gan.feature_projection import NUM_SCALES, FrozenConv


class FrozenUpConv(nn.Module):
    """Transposed convolution that makes factor x factor pixels of one; its weights never change.

    Args:
        channels: I = O.
        factor: kernel and stride.
        rng: see `FrozenConv`.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int, factor: int, rng: torch.Generator) -> None:
        super().__init__()
        # Torch's default counts the fan-in of a transposed convolution on its outputs.
        like = FrozenConv(channels, channels, factor, rng)
        self.factor = factor
        self.register_buffer("weight", like.weight)
        self.register_buffer("bias", like.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, factor H, factor W]."""
        return F.conv_transpose2d(x_NCHW, self.weight, self.bias, stride=self.factor)


class FrozenHalving(FrozenConv):
    """Convolution of 3 x 3 and stride 2."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Map [N, I, H, W] to [N, O, H / 2, W / 2], rounded up."""
        return F.conv2d(x_NCHW, self.weight, self.bias, stride=2, padding=1)


class TokenReassembly(nn.Module):
    """Four grids of patches -> four maps "stage_0" ... "stage_3".

    Args:
        channels: C.
        side: h = w, in patches.
        seed: of the random weights.

    Attributes:
        out_channels: C / 8, C / 4, C / 2, C.
        out_sides: 4 h, 2 h, h, h / 2.
    """

    def __init__(self, channels: int, side: int, *, seed: int = 0) -> None:
        super().__init__()
        if channels % 8 or side % 2:
            raise ValueError(
                f"a transformer of width {channels} with {side} x {side} patches: wanted a "
                "multiple of 8 and an even number"
            )
        rng = torch.Generator().manual_seed(seed)
        self.out_channels = [channels // 8, channels // 4, channels // 2, channels]
        self.out_sides = [4 * side, 2 * side, side, side // 2]
        self.narrow = nn.ModuleList(FrozenConv(channels, out, 1, rng) for out in self.out_channels)
        self.resize = nn.ModuleList(
            [
                FrozenUpConv(channels // 8, 4, rng),
                FrozenUpConv(channels // 4, 2, rng),
                nn.Identity(),
                FrozenHalving(channels, channels, 3, rng),
            ]
        )

    def forward(self, taps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the pyramid of `VitNet.patch_maps`: taps "tap_0" ... "tap_3" [N, C, h, w]."""
        return {
            f"stage_{i}": self.resize[i](self.narrow[i](taps[f"tap_{i}"]))
            for i in range(NUM_SCALES)
        }
