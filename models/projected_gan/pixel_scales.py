"""The projected discriminator without the projection: the same networks on the image itself.

Nothing is frozen, everything is learnt from the pixels: what Projected GAN is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.projected_gan.discriminator import LAST_KERNEL, ScaleDiscriminator


class PixelDiscriminator(nn.Module):
    """One network per scale of the image, each half the size of the one before.

    Args:
        resolution: of the images, in pixels.
        shape: widths that the data dictates.
        num_scales: of the image; 1 = only its own size.
        width_max, separable, cmap_dim, label_dim, virtual_batch: see `ScaleDiscriminator`.

    Raises:
        ValueError: the smallest scale is too small for the last convolution.
    """

    def __init__(
        self,
        *,
        resolution: int,
        shape: ConditionShape,
        num_scales: int = 1,
        width_max: int = 512,
        separable: bool = False,
        cmap_dim: int = 64,
        label_dim: int = 128,
        virtual_batch: int = 8,
    ) -> None:
        super().__init__()
        sides = [resolution >> index for index in range(num_scales)]
        if sides[-1] < LAST_KERNEL:
            raise ValueError(
                f"{num_scales} scales of {resolution} px: the smallest has {sides[-1]} px, at "
                f"least {LAST_KERNEL} wanted"
            )
        self.heads = nn.ModuleList(
            ScaleDiscriminator(
                3,
                first_size=side,
                width_max=width_max,
                shape=shape,
                separable=separable,
                cmap_dim=cmap_dim,
                label_dim=label_dim,
                virtual_batch=virtual_batch,
            )
            for side in sides
        )

    def forward(self, maps: Mapping[str, Tensor], condition: Condition, parts: int = 1) -> Tensor:
        """Return logits [N, T], float32, of all scales side by side.

        Args:
            maps: "pixels" -> images [N, 3, H, W] in [-1, 1]; N = parts * n.
            condition, parts: see `ProjectedDiscriminator.forward`.
        """
        x = maps["pixels"]
        logits = []
        for index, head in enumerate(self.heads):
            x = F.avg_pool2d(x, 2) if index else x
            logits.append(head(x, condition, parts).flatten(1))
        return torch.cat(logits, dim=1)
