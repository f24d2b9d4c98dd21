"""Projected GAN's discriminator: one small network per scale of a projected feature pyramid.

Sauer et al. 2021, section 3.2.

The feature network is not part of this module: it is frozen, shared and never saved with a run.
`ProjectedDiscriminator` maps its four maps to logits, and stands alone: any pyramid will do.

Legend: N samples, C channels, H W pixels, E width of the conditioning vector, M cmap_dim, T logits
of a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionEmbedding
from models.layers.equalized import LEAK
from models.layers.spectral_norm import SpectralConv2d
from models.layers.tracked_batch_norm import TrackedBatchNorm
from models.projected_gan.feature_projection import FeatureProjection

# Width of the features at a nominal size; the published ladder.
WIDTHS = {4: 512, 8: 512, 16: 256, 32: 128, 64: 64, 128: 64, 256: 32, 512: 16, 1024: 8}
LAST_SIZE = 8  # nominal; the last convolution covers 4 pixels of it
# Side of the largest map of a 256-px image; larger images get no more blocks, but more logits.
FIRST_SIDE = 64
LAST_KERNEL = 4


class DownBlock(nn.Module):
    """Halve: a convolution of 4 x 4 and stride 2, batch norm, leaky ReLU.

    Args:
        in_channels, out_channels: widths.
        separable: a depthwise 3 x 3 and a pointwise convolution instead, then average pooling.
        virtual_batch: of the batch norm.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, separable: bool, virtual_batch: int
    ) -> None:
        super().__init__()
        self.depthwise: nn.Module | None = None
        if separable:
            self.depthwise = SpectralConv2d(
                in_channels, in_channels, 3, padding=1, groups=in_channels
            )
            self.conv = SpectralConv2d(in_channels, out_channels, 1)
        else:
            self.conv = SpectralConv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=True)
        self.norm = TrackedBatchNorm(out_channels, virtual_batch=virtual_batch)

    def forward(self, x_NCHW: Tensor, parts: int) -> Tensor:
        """Map [N, I, H, W] to [N, O, H // 2, W // 2]."""
        x = x_NCHW if self.depthwise is None else self.depthwise(x_NCHW)
        x = F.leaky_relu(self.norm(self.conv(x), parts), LEAK)
        return x if self.depthwise is None else F.avg_pool2d(x, 2)


class ScaleDiscriminator(nn.Module):
    """One map -> a small map of logits, by projection on the class if conditional.

    Args:
        in_channels: C of the map.
        first_size: nominal side of the map, in pixels; a size between two is taken as the nearer.
        last_size: nominal side after the blocks.
        width: channels of all layers; None = the published ladder by size.
        width_max: largest width of the ladder.
        shape: widths that the data dictates.
        separable: see `DownBlock`.
        cmap_dim: M, the width in which features and condition meet.
        label_dim: width of the class embedding.
        virtual_batch: of the batch norms.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        first_size: int,
        last_size: int = LAST_SIZE,
        width: int | None = None,
        width_max: int = 512,
        shape: ConditionShape | None = None,
        separable: bool = False,
        cmap_dim: int = 64,
        label_dim: int = 128,
        virtual_batch: int = 8,
    ) -> None:
        super().__init__()
        size = min(WIDTHS, key=lambda known: (abs(known - first_size), known))
        widths = {known: min(ladder, width_max) for known, ladder in WIDTHS.items()}
        if width is not None:
            widths = dict.fromkeys(WIDTHS, width)
        widths[size] = in_channels
        self.blocks = nn.ModuleList()
        while size > last_size:
            self.blocks.append(
                DownBlock(
                    widths[size],
                    widths[size // 2],
                    separable=separable,
                    virtual_batch=virtual_batch,
                )
            )
            size //= 2
        self.condition = ConditionEmbedding(shape or ConditionShape(), label_dim)
        self.project: nn.Linear | None = None
        outputs = 1
        if self.condition.dim:
            self.project, outputs = nn.Linear(self.condition.dim, cmap_dim), cmap_dim
        self.classify = SpectralConv2d(widths[size], outputs, LAST_KERNEL)

    def forward(self, x_NCHW: Tensor, condition: Condition, parts: int = 1) -> Tensor:
        """Return logits [N, 1, H', W'], float32; see `ProjectedDiscriminator.forward`."""
        x = x_NCHW
        for block in self.blocks:
            x = block(x, parts)
        out = self.classify(x).float()
        vector_NE = self.condition(condition)
        if self.project is None or vector_NE is None:
            return out
        map_NM = F.leaky_relu(self.project(vector_NE), LEAK).float()
        map_NM = map_NM.repeat(parts, 1) / map_NM.shape[1] ** 0.5
        return (out * map_NM[:, :, None, None]).sum(dim=1, keepdim=True)


class ProjectedDiscriminator(nn.Module):
    """Projection and one discriminator per scale. At 224 px 4 x 16 = 64 logits per sample.

    Args:
        channels: of the four maps "stage_0", "stage_1", ...
        sides: of the four maps, in pixels, each half of the one before.
        shape: widths that the data dictates.
        level, width, expand, kernel_size, seed: see `FeatureProjection`.
        width_max, separable, cmap_dim, label_dim, virtual_batch: see `ScaleDiscriminator`.

    Raises:
        ValueError: maps that do not halve, or that are too small for the last convolution.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        sides: Sequence[int],
        shape: ConditionShape,
        level: int = 2,
        width: int = 64,
        expand: bool = True,
        kernel_size: int = 1,
        seed: int = 0,
        width_max: int = 512,
        separable: bool = False,
        cmap_dim: int = 64,
        label_dim: int = 128,
        virtual_batch: int = 8,
    ) -> None:
        super().__init__()
        if any(large != 2 * small for large, small in pairwise(sides)):
            raise ValueError(f"feature maps of {list(sides)} px: each must be twice the next")
        self.projection = FeatureProjection(
            channels, level=level, width=width, expand=expand, kernel_size=kernel_size, seed=seed
        )
        sides = [side * self.projection.scale for side in sides]
        if sides[-1] < LAST_KERNEL:
            raise ValueError(f"the smallest map has {sides[-1]} px, at least {LAST_KERNEL} wanted")
        self.heads = nn.ModuleList(
            ScaleDiscriminator(
                before,
                first_size=min(side, FIRST_SIDE * self.projection.scale >> index),
                width_max=width_max,
                shape=shape,
                separable=separable,
                cmap_dim=cmap_dim,
                label_dim=label_dim,
                virtual_batch=virtual_batch,
            )
            for index, (before, side) in enumerate(
                zip(self.projection.out_channels, sides, strict=True)
            )
        )

    def forward(self, maps: Mapping[str, Tensor], condition: Condition, parts: int = 1) -> Tensor:
        """Return logits [N, T], float32, of all scales side by side.

        Args:
            maps: "stage_i" -> [N, C, H, W]; N = parts * n, whole batches one after the other.
            condition: of one part (n samples); every part is judged against the same.
            parts: batches concatenated in the maps, which keep their own normalisation statistics.
        """
        projected = self.projection([maps[f"stage_{i}"] for i in range(len(self.heads))])
        logits = [
            head(x, condition, parts).flatten(1)
            for head, x in zip(self.heads, projected, strict=True)
        ]
        return torch.cat(logits, dim=1)
