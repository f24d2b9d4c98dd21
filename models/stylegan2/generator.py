"""StyleGAN2's generator: mapping network and skip synthesis.

Legend: N samples, C channels, H W pixels, D width of w, L entries of w, K entries a block reads.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionVector
from models.layers.equalized import EqualizedLinear
from models.layers.modulated_layer import ModulatedLayer, ToRGB
from models.layers.precision import full_precision
from models.layers.resampling import upsample_rgb
from models.layers.skip_synthesis import SkipSynthesis
from models.layers.style_based import StyleBasedGenerator
from models.layers.style_mapping import StyleMapping

FIRST_RESOLUTION = 4


class ConstantInput(nn.Module):
    """A learned image [C, size, size], the same for every w."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.randn(channels, size, size))

    def forward(self, w_ND: Tensor) -> Tensor:
        """Return [N, C, size, size]."""
        return self.value.expand(w_ND.shape[0], -1, -1, -1)


class SynthesisBlock(nn.Module):
    """One resolution: up-convolution (not in the first block), convolution, image contribution.

    Args:
        in_channels: width of the block before; 0 for the first block.
        channels: width.
        w_dim: D.
        resolution: in pixels.
        clamp: bound of the activations; None = none.
        image_channels: of the image.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        w_dim: int,
        resolution: int,
        clamp: float | None,
        image_channels: int,
    ) -> None:
        super().__init__()
        self.resolution = resolution

        def layer(inputs: int, up: bool) -> ModulatedLayer:
            return ModulatedLayer(
                inputs,
                channels,
                w_dim=w_dim,
                resolution=resolution,
                up=up,
                style=EqualizedLinear(w_dim, inputs, bias_init=1.0),
                clamp=clamp,
            )

        self.layers = nn.ModuleList([layer(in_channels, True)] if in_channels else [])
        self.layers.append(layer(channels, False))
        self.num_convs = len(self.layers)
        self.to_rgb = ToRGB(
            channels,
            w_dim=w_dim,
            style=EqualizedLinear(w_dim, channels, bias_init=1.0),
            clamp=clamp,
            weight_init=1.0,
            image_channels=image_channels,
        )

    def noisy_layers(self) -> list[ModulatedLayer]:
        """Return the layers that take noise, in order."""
        return cast("list[ModulatedLayer]", list(self.layers))

    def forward(
        self,
        x_NCHW: Tensor,
        image_N3HW: Tensor | None,
        ws_NKD: Tensor,
        noises: list[Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        """Return the features and the image so far (float32), at this block's resolution."""
        codes, x = ws_NKD.unbind(dim=1), x_NCHW
        for layer, w_ND, noise in zip(self.layers, codes[:-1], noises, strict=True):
            x = layer(x, w_ND, noise)
        rgb = self.to_rgb(x, codes[-1])
        if image_N3HW is not None:
            with full_precision(rgb):
                rgb = upsample_rgb(image_N3HW) + rgb
        return x, rgb


class SynthesisNetwork(SkipSynthesis):
    """ws -> image: blocks at 4, 8, ..., resolution, whose images are summed (skip architecture).

    Args:
        w_dim: D.
        resolution: a power of two, at least 4, in pixels.
        channel_base: a block at r pixels has min(channel_base // r, channel_max) channels.
        channel_max: see above.
        clamp: bound of the activations; None = none (the published float32 network).
        image_channels: of the image.
    """

    def __init__(
        self,
        w_dim: int,
        *,
        resolution: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        clamp: float | None = None,
        image_channels: int = 3,
    ) -> None:
        if resolution < FIRST_RESOLUTION or resolution & (resolution - 1):
            raise ValueError(f"resolution must be a power of two from 4, got {resolution}")
        if channel_base < resolution or channel_max < 1:
            raise ValueError(
                f"no channels are left at {resolution} px: channel_base is {channel_base} and "
                f"channel_max {channel_max}; raise them"
            )
        blocks: dict[str, nn.Module] = {}
        width_before, size = 0, FIRST_RESOLUTION
        constant = ConstantInput(min(channel_base // size, channel_max), size)
        while size <= resolution:
            width = min(channel_base // size, channel_max)
            blocks[str(size)] = SynthesisBlock(
                width_before,
                width,
                w_dim=w_dim,
                resolution=size,
                clamp=clamp,
                image_channels=image_channels,
            )
            width_before, size = width, size * 2
        super().__init__(blocks, constant)


class StyleGAN2Generator(StyleBasedGenerator):
    """Mapping and synthesis; implements `models.interfaces.Generator`.

    Args:
        resolution: of the images, in pixels.
        shape: widths that the data dictates; text if there is some, else classes, else nothing.
        z_dim: width of z.
        w_dim: width of w.
        num_mapping_layers: of the mapping network.
        mean_beta: of its running mean. StyleGAN2-ADA 0.995, StyleGAN3 and Projected GAN 0.998.
        channel_base, channel_max, clamp, image_channels: see `SynthesisNetwork`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        shape: ConditionShape,
        z_dim: int = 512,
        w_dim: int = 512,
        num_mapping_layers: int = 8,
        mean_beta: float = 0.995,
        channel_base: int = 32768,
        channel_max: int = 512,
        clamp: float | None = None,
        image_channels: int = 3,
    ) -> None:
        condition = ConditionVector(shape)
        mapping = StyleMapping(
            z_dim,
            w_dim,
            num_layers=num_mapping_layers,
            vector_dim=condition.dim,
            mean_beta=mean_beta,
        )
        synthesis = SynthesisNetwork(
            w_dim,
            resolution=resolution,
            channel_base=channel_base,
            channel_max=channel_max,
            clamp=clamp,
            image_channels=image_channels,
        )
        super().__init__(mapping, synthesis, z_dim=z_dim, resolution=resolution)
        self.condition = condition

    def vector(self, condition: Condition) -> Tensor | None:
        """Return the text embedding or the one-hot class."""
        return self.condition(condition)
