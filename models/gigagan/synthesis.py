"""GigaGAN's synthesis network: blocks from 4 px up, and an image at every resolution.

Legend: N samples, L entries of w, D width of w.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.gigagan.adaptive_conv import AdaptiveConv
from models.gigagan.blocks import AttentionBlock, AttentionStyle, ConvBlock, Gain
from models.gigagan.text_head import Text
from models.layers.fourier import FourierInput
from models.layers.resampling import upsample_rgb

FIRST_RESOLUTION = 4


class FirstBlock(nn.Module):
    """A learned constant or plane waves, and one adaptive convolution.

    Args:
        channels: width of both.
        w_dim: D.
        num_kernels: of the convolution.
        waves: Fourier features that w turns and shifts, as in Aurora, instead of a constant.
        deformable: of the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        w_dim: int,
        *,
        num_kernels: int,
        waves: bool,
        deformable: bool,
    ) -> None:
        super().__init__()
        size = FIRST_RESOLUTION
        self.constant: nn.Parameter | None = None
        self.waves: FourierInput | None = None
        if waves:
            self.waves = FourierInput(
                *(w_dim, in_channels), size=size, sampling_rate=size, bandwidth=1, fades=False
            )
        else:
            self.constant = nn.Parameter(torch.randn(in_channels, size, size))
        self.conv = AdaptiveConv(
            *(in_channels, channels, w_dim), num_kernels=num_kernels, deformable=deformable
        )

    def forward(self, w_ND: Tensor) -> Tensor:
        """Return [N, channels, 4, 4]."""
        if self.waves is not None:
            return self.conv(self.waves(w_ND), w_ND)  # type: ignore[no-any-return]
        assert self.constant is not None
        x = self.constant.expand(len(w_ND), -1, -1, -1)
        return self.conv(x, w_ND)  # type: ignore[no-any-return]


class Synthesis(nn.Module):
    """ws and words -> an image at every resolution, each the sum of those below and its own.

    Args:
        w_dim, word_dim: D; width of a word (0: no attention to words).
        widths: resolution -> channels, from 4 px up.
        kernels, blocks, depths, experts: resolution -> size of the banks, convolution blocks,
            layers of attention after each of them (0 = none) and experts in those.
        attention: how.
        gain, gain_on: of the convolution blocks' residuals.
        waves: see `FirstBlock`.
        input_width: channels that it begins with; 0 = those at 4 px.
        deformable_up_to: resolution; the second convolution of each block up to it is deformable.

    Attributes:
        num_ws: L: one entry for each block, of convolution or of attention.
        checkpoint_activations: recompute each block in the backward pass instead of storing it.
    """

    def __init__(
        self,
        w_dim: int,
        word_dim: int,
        *,
        widths: Mapping[int, int],
        kernels: Mapping[int, int],
        blocks: Mapping[int, int],
        depths: Mapping[int, int],
        experts: Mapping[int, int],
        attention: AttentionStyle,
        gain: float,
        gain_on: Gain,
        waves: bool = False,
        input_width: int = 0,
        deformable_up_to: int = 0,
    ) -> None:
        super().__init__()
        self.checkpoint_activations = False
        self.layers, self.to_rgb = nn.ModuleList(), nn.ModuleDict()
        self.ends: dict[int, int] = {}  # resolution -> entry of its last block
        before = 0
        for size, width in widths.items():
            banks, moves = kernels.get(size, 1), size <= deformable_up_to
            for block in range(blocks.get(size, 1)):
                first = block == 0
                if not self.layers:
                    layer: nn.Module = FirstBlock(
                        *(input_width or width, width, w_dim),
                        num_kernels=banks,
                        waves=waves,
                        deformable=moves,
                    )
                else:
                    layer = ConvBlock(
                        *(before if first else width, width, w_dim),
                        num_kernels=banks,
                        up=first,
                        gain=gain,
                        gain_on=gain_on,
                        deformable=moves,
                    )
                self.layers.append(layer)
                if depth := depths.get(size, 0):
                    own = experts.get(size, 0)
                    self.layers.append(
                        AttentionBlock(width, w_dim, word_dim, depth, attention, own)
                    )
            self.ends[size] = len(self.layers) - 1
            self.to_rgb[str(size)] = AdaptiveConv(
                *(width, 3, w_dim), kernel_size=1, num_kernels=banks, demodulate=False, leaky=False
            )
            before = width
        self.num_ws = len(self.layers)

    @property
    def input(self) -> nn.Module:
        """What synthesis begins with: plane waves, or the learned constant."""
        first: Any = self.layers[0]
        return first.waves or nn.ParameterList([first.constant])

    def forward(self, ws_NLD: Tensor, text: Text) -> list[Tensor]:
        """Return the images [N, 3, r, r] from the largest down, float32."""
        return self.mixed(ws_NLD, [(0, text)])

    def mixed(self, ws_NLD: Tensor, texts: list[tuple[int, Text]]) -> list[Tensor]:
        """Return the images, where each text is read from its entry on: (0, coarse), (k, fine)."""
        x, image, images = ws_NLD, None, []
        for number, layer in enumerate(self.layers):
            w_ND = ws_NLD[:, number]
            if isinstance(layer, AttentionBlock):
                text = next(t for start, t in reversed(texts) if number >= start)
                x = self._run(layer, x, w_ND, text)
            elif isinstance(layer, FirstBlock):
                x = self._run(layer, w_ND)
            else:
                x = self._run(layer, x, w_ND)
            size = x.shape[-1]
            if self.ends[size] == number:
                own = self.to_rgb[str(size)](x, w_ND).float()
                image = own if image is None else upsample_rgb(image) + own
                images.append(image)
        return images[::-1]

    def _run(self, layer: nn.Module, *inputs: Any) -> Tensor:
        if not (self.checkpoint_activations and torch.is_grad_enabled()):
            return layer(*inputs)  # type: ignore[no-any-return]
        found: Tensor = checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False)
        return found


def table(resolution: int, values: tuple[int, ...]) -> dict[int, int]:
    """Return resolution -> value, from 4 px up to `resolution`; the last value goes on."""
    sizes = resolutions(resolution)
    return {r: values[min(i, len(values) - 1)] if values else 0 for i, r in enumerate(sizes)}


def resolutions(largest: int) -> list[int]:
    """Return 4, 8, ..., largest.

    Raises:
        ValueError: not a power of two from 8.
    """
    if largest < 2 * FIRST_RESOLUTION or largest & (largest - 1):
        raise ValueError(f"resolution must be a power of two from 8, got {largest}")
    return [1 << k for k in range(2, largest.bit_length())]
