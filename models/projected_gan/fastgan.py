"""The FastGAN generator, in the form that Projected GAN published.

Sauer et al. 2021, appendix; architecture of Liu et al. 2021, section 3.1.

Deviations: any power of two from 8 to 1024 px, conditional or not (the published code fails below
128 px and, conditional, above 256 px); only the blocks that a resolution uses exist; text can stand
where the class does; fixed noise is stored, so that sampling repeats; a truncation, which the paper
has not, draws the normalised z towards its mean, the origin.

Legend: N samples, L entries of w, Z width of z, E width of the conditioning vector.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionEmbedding
from models.layers.equalized import normalize_second_moment
from models.layers.noise import NoisyGenerator, layer_noises
from models.layers.spectral_norm import SpectralConv2d
from models.projected_gan.fastgan_blocks import FirstBlock, NoiseInjection, SkipExcitation, UpBlock

SMALLEST, LARGEST = 8, 1024
# Width of the features at a resolution, relative to base_channels.
WIDTHS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, 512: 0.25, 1024: 0.125}
# A block of the first resolution gates the block of the second.
EXCITATIONS = {64: 4, 128: 8, 256: 16, 512: 32}


class FastGANGenerator(NoisyGenerator):
    """z -> image; implements `models.interfaces.Generator`.

    Args:
        resolution: a power of two from 8 to 1024, in pixels.
        shape: widths that the data dictates.
        z_dim: Z, also the width of the class embedding.
        base_channels: width at 128 px; other resolutions follow `WIDTHS`.
        lite: blocks of one convolution without noise.
        virtual_batch: largest group of samples that share batch-norm statistics.

    Attributes:
        num_ws: L. Entry 0 holds z; if conditional, every block has an entry too, of which it reads
            the conditioning vector.
    """

    def __init__(
        self,
        *,
        resolution: int,
        shape: ConditionShape,
        z_dim: int = 256,
        base_channels: int = 128,
        lite: bool = False,
        virtual_batch: int = 8,
    ) -> None:
        super().__init__()
        if not SMALLEST <= resolution <= LARGEST or resolution & (resolution - 1):
            raise ValueError(
                f"resolution must be a power of two from {SMALLEST} to {LARGEST}, got {resolution}"
            )
        self.z_dim, self.resolution = z_dim, resolution
        self.condition = ConditionEmbedding(shape, z_dim)
        sizes = [size for size in WIDTHS if size <= resolution]
        widths = {size: _width(size, base_channels) for size in sizes}
        self.first = FirstBlock(z_dim, widths[4], virtual_batch=virtual_batch)
        self.blocks = nn.ModuleDict(
            {
                str(size): UpBlock(
                    widths[size // 2],
                    widths[size],
                    resolution=size,
                    lite=lite,
                    condition_dim=self.condition.dim,
                    virtual_batch=virtual_batch,
                )
                for size in sizes[1:]
            }
        )
        self.excitations = nn.ModuleDict(
            {
                str(high): SkipExcitation(widths[low], widths[high])
                for high, low in EXCITATIONS.items()
                if high <= resolution
            }
        )
        self.to_rgb = SpectralConv2d(widths[resolution], 3, 3, padding=1, bias=True)
        self.num_ws = 1 + len(self.blocks) if self.condition.dim else 1
        self.w_dim = z_dim + self.condition.dim

    def map(self, z_NZ: Tensor, condition: Condition, truncation: float | Tensor = 1.0) -> Tensor:
        """Return ws [N, L, Z + E]: psi times z of unit mean square, then the conditioning vector.

        Args:
            z_NZ: standard normal.
            condition: what the images are to show; ignored if unconditional.
            truncation: psi, one number or [N]; 0 is the image at the mean of z.
        """
        z = normalize_second_moment(z_NZ.float())
        psi = truncation.to(z).view(-1, 1) if isinstance(truncation, Tensor) else truncation
        parts = [z * psi]
        vector_NE = self.condition(condition)
        if vector_NE is not None:
            parts.append(vector_NE)
        return torch.cat(parts, dim=1)[:, None, :].expand(-1, self.num_ws, -1)

    def synthesize(
        self, ws_NLD: Tensor, condition: Condition | None = None, noise: Any = "const"
    ) -> Tensor:
        """Return images [N, 3, resolution, resolution], about [-1, 1] and not clamped, float32.

        Args:
            ws_NLD: codes from `map`.
            condition: unused; it is in the codes.
            noise: "const" (stored), "none", or a list from `draw_noise`.
        """
        noises = layer_noises(self._injections(), noise)
        features = {4: self.first(ws_NLD[:, 0, : self.z_dim])}
        for index, block in enumerate(self.each_block(), start=1):
            size, count = block.resolution, len(block.injections())
            own, noises = noises[:count], noises[count:]
            vector_NE = ws_NLD[:, min(index, self.num_ws - 1), self.z_dim :]
            x = block(features[size // 2], vector_NE, own)
            if str(size) in self.excitations:
                x = self.excitations[str(size)](features[EXCITATIONS[size]], x)
            features[size] = x
        return self.to_rgb(features[self.resolution]).float()

    def noise_sizes(self) -> list[int]:
        """Return the resolution of each stage with noise, in order."""
        return [layer.noise_const.shape[0] for layer in self._injections()]

    def each_block(self) -> list[UpBlock]:
        """Return the blocks from 8 px up."""
        return cast("list[UpBlock]", list(self.blocks.values()))

    def _injections(self) -> list[NoiseInjection]:
        return [layer for block in self.each_block() for layer in block.injections()]


def _width(size: int, base_channels: int) -> int:
    width = int(WIDTHS[size] * base_channels)
    if width < 1:
        raise ValueError(f"base_channels {base_channels} leaves no channel at {size} px: raise it")
    return width
