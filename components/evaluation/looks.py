"""What can be seen of images without a network: their silhouettes, and small pictures of them.

Legend: N images, D = 3 * THUMBNAIL_PX ** 2 numbers of a small picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from components.evaluation.silhouettes import Silhouette, silhouettes
from components.sampling import from_uint8

THUMBNAIL_PX = 32


def small_pictures(image_NCHW: Tensor) -> Tensor:
    """Return images in [-1, 1] of any size as small pictures, [N, D]."""
    return F.adaptive_avg_pool2d(image_NCHW, THUMBNAIL_PX).flatten(1)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Of N images, in order.

    Attributes:
        captions: what each should show; empty where nobody asks.
        outlines: silhouettes; None where nothing stands out, and where nobody looked.
        pixel_ND: small pictures, in [-1, 1].
    """

    captions: list[str]
    outlines: list[Silhouette | None]
    pixel_ND: Tensor

    @classmethod
    def of(cls, images: np.ndarray, captions: Sequence[str], *, outlined: bool) -> Looks:
        """Look at uint8 images [N, H, W, 3]; at outlines only where they have one object each."""
        return cls(
            captions=list(captions),
            outlines=silhouettes(images) if outlined else [None] * len(images),
            pixel_ND=small_pictures(from_uint8(images)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Looks]) -> Looks:
        """Return the looks of several batches as one."""
        return cls(
            captions=[caption for part in parts for caption in part.captions],
            outlines=[outline for part in parts for outline in part.outlines],
            pixel_ND=torch.cat([part.pixel_ND for part in parts]),
        )

    def first(self, count: int) -> Looks:
        """Return the same for the first `count` images."""
        return Looks(
            captions=self.captions[:count],
            outlines=self.outlines[:count],
            pixel_ND=self.pixel_ND[:count],
        )

    @property
    def centre_N2(self) -> Tensor:
        """Centres of the objects, as parts of the image's sides; NaN where there is none."""
        nowhere = (float("nan"), float("nan"))
        return torch.tensor([one.centre if one else nowhere for one in self.outlines])
