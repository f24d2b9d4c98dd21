"""StyleGAN-T's generator: mapping network and synthesis network.

Sauer et al. 2023, "StyleGAN-T: Unlocking the Power of GANs for Fast Large-Scale Text-to-Image
Synthesis", section 3.1.

Deviations: classes are possible where the data has no text (the published code fails on them); the
running mean of the mapping network is synchronised (models/layers/running_mean.py); noise is drawn
by the caller.

Legend: N samples, D width of w, L entries of w, Z width of z, E width of the conditioning vector.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionVector
from models.layers.equalized import EqualizedLinear, normalize_second_moment
from models.layers.fourier import FourierInput
from models.layers.noise import NoisyGenerator
from models.layers.running_mean import RunningMean
from models.layers.skip_synthesis import SkipSynthesis
from models.stylegan_t.blocks import SynthesisBlock

FIRST_RESOLUTION = 8


class MappingNetwork(nn.Module):
    """z -> f(z), a two-layer perceptron, which the conditioning vector bypasses.

    Args:
        z_dim: Z, also the width of f(z).
        num_layers: all but the last have a leaky ReLU.
        lr_multiplier: of the layers' equalised learning rate.
        mean_beta: of the running mean of f(z).
    """

    def __init__(
        self,
        z_dim: int,
        *,
        num_layers: int = 2,
        lr_multiplier: float = 0.01,
        mean_beta: float = 0.995,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EqualizedLinear(z_dim, z_dim, lr_multiplier=lr_multiplier, leaky=i + 1 < num_layers)
            for i in range(num_layers)
        )
        self.mean = RunningMean(z_dim, mean_beta)

    def forward(self, z_NZ: Tensor, truncation: float | Tensor = 1.0) -> Tensor:
        """Return f(z) [N, Z], float32, drawn towards its running mean.

        Args:
            z_NZ: standard normal.
            truncation: psi, one number or [N]; 1 = off, 0 = the mean.
        """
        x = normalize_second_moment(z_NZ.float())
        for layer in self.layers:
            x = layer(x)
        self.mean.observe(x)
        if isinstance(truncation, Tensor):
            return torch.lerp(self.mean.value, x, truncation.to(x).view(-1, 1))
        return x if truncation == 1 else torch.lerp(self.mean.value, x, truncation)


class SynthesisNetwork(SkipSynthesis):
    """ws -> image: blocks at 8, 16, ..., resolution, whose images are summed (skip architecture).

    Args:
        w_dim: D.
        resolution: a power of two, at least 8, in pixels.
        channel_base: a block at r pixels has min(channel_base // r, channel_max) channels.
        channel_max: see above.
        num_res_blocks: residual pairs in a block.
        num_groups: groups of the group norms; must divide every width.
    """

    def __init__(
        self,
        w_dim: int,
        *,
        resolution: int,
        channel_base: int,
        channel_max: int,
        num_res_blocks: int,
        num_groups: int,
    ) -> None:
        if resolution < FIRST_RESOLUTION or resolution & (resolution - 1):
            raise ValueError(f"resolution must be a power of two from 8, got {resolution}")
        blocks: dict[str, nn.Module] = {}
        width_before, size = 0, FIRST_RESOLUTION
        while size <= resolution:
            width = min(channel_base // size, channel_max)
            if width == 0 or width % num_groups:
                raise ValueError(
                    f"{width} channels at {size} px do not split into {num_groups} groups: change "
                    "channel_base, channel_max or the number of groups"
                )
            blocks[str(size)] = SynthesisBlock(
                width_before,
                width,
                w_dim=w_dim,
                resolution=size,
                num_res_blocks=num_res_blocks,
                num_groups=num_groups,
            )
            width_before, size = width, size * 2
        super().__init__(blocks)


class StyleGANTGenerator(NoisyGenerator):
    """Mapping and synthesis; implements `models.interfaces.Generator`.

    Args:
        resolution: of the images, in pixels.
        shape: widths that the data dictates.
        z_dim: width of z.
        channel_base, channel_max, num_res_blocks, num_groups: see `SynthesisNetwork`.
        label_dim: see `ConditionVector`.
        input_shift: see `FourierInput.start_shifted`; 0 leaves the input where it is.
        more_dim: width of what a subclass tells beside the condition, in `told`.

    Attributes:
        frozen_resolution: blocks up to this resolution are frozen (all but their ToRGB), 0 = none;
            set by growth.
    """

    def __init__(
        self,
        *,
        resolution: int,
        shape: ConditionShape,
        z_dim: int = 64,
        channel_base: int = 32768,
        channel_max: int = 512,
        num_res_blocks: int = 2,
        num_groups: int = 32,
        label_dim: int = 0,
        input_shift: float = 0.0,
        more_dim: int = 0,
    ) -> None:
        super().__init__()
        self.z_dim, self.resolution, self.frozen_resolution = z_dim, resolution, 0
        self.condition = ConditionVector(shape, label_dim)
        self.mapping = MappingNetwork(z_dim)
        self.w_dim = z_dim + self.condition.dim + more_dim
        self.synthesis = SynthesisNetwork(
            self.w_dim,
            resolution=resolution,
            channel_base=channel_base,
            channel_max=channel_max,
            num_res_blocks=num_res_blocks,
            num_groups=num_groups,
        )
        self.num_ws = self.synthesis.num_ws
        if input_shift:
            first = self.synthesis.blocks[str(FIRST_RESOLUTION)].first
            cast("FourierInput", first).start_shifted(z_dim, input_shift)

    def map(self, z_NZ: Tensor, condition: Condition, truncation: float | Tensor = 1.0) -> Tensor:
        """Return ws [N, L, D]: f(z), truncated, then the conditioning vector, never truncated.

        Args:
            z_NZ: standard normal.
            condition: what the images are to show.
            truncation: one number or [N]; 0 is the mean image of the condition.
        """
        parts = [self.mapping(z_NZ, truncation)]
        vector_NE = self.told(z_NZ, condition)
        if vector_NE is not None:
            parts.append(vector_NE)
        return torch.cat(parts, dim=1)[:, None, :].expand(-1, self.num_ws, -1)

    def told(self, z_NZ: Tensor, condition: Condition) -> Tensor | None:
        """Return what bypasses the mapping network [N, E]; None for an unconditional generator."""
        vector_NE: Tensor | None = self.condition(condition)
        return vector_NE

    def synthesize(
        self, ws_NLD: Tensor, condition: Condition | None = None, noise: Any = "const"
    ) -> Tensor:
        """Return images [N, 3, resolution, resolution], about [-1, 1] and not clamped, float32.

        Args:
            ws_NLD: codes, one entry per layer.
            condition: unused; the text is in the codes.
            noise: "const" (stored buffers), "none", or a list from `draw_noise`.
        """
        return self.synthesis(ws_NLD, noise)

    def noise_sizes(self) -> list[int]:
        """Return the resolution of each noisy layer, in order."""
        return self.synthesis.noise_sizes()

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that train: all, or after growth the new blocks and every ToRGB."""
        if self.frozen_resolution == 0:
            return list(self.parameters())
        chosen: list[nn.Parameter] = []
        for block in self.synthesis.blocks.values():
            assert isinstance(block, SynthesisBlock)
            grown = block.resolution > self.frozen_resolution
            chosen += (block if grown else block.to_rgb).parameters()
        return chosen

    def freeze_up_to(self, resolution: int) -> None:
        """Freeze the mapping and the blocks up to `resolution` but for their ToRGB; 0 = none."""
        self.frozen_resolution = resolution
        self.mapping.mean.tracks = resolution == 0
