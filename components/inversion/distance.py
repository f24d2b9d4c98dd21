"""The distance between an image and the target: pixels, and features of a frozen net.

The feature term is LPIPS (Zhang et al. 2018, section 3) without its learned weights: at every place
of every map, feature vectors of unit length are compared. The published code takes LPIPS on VGG,
whose weights cannot be had here; any frozen net of the project stands in.

Legend: N images, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Distances:
    """Of each image, [N]: the weighted sum, and its two terms unweighted."""

    total_N: Tensor
    features_N: Tensor
    pixels_N: Tensor


class ImageDistance:
    """Distance to one image.

    Args:
        target_1CHW: in [-1, 1].
        net: a frozen feature net, on the target's device; None: pixels alone.
        feature_weight, pixel_weight: of the terms.
    """

    def __init__(
        self,
        target_1CHW: Tensor,
        net: Any | None,
        *,
        feature_weight: float = 1.0,
        pixel_weight: float = 1.0,
    ) -> None:
        self.target_1CHW, self.net = target_1CHW, net
        self._feature_weight, self._pixel_weight = feature_weight, pixel_weight
        with torch.no_grad():
            features = net(target_1CHW) if net is not None else {}
            self._maps = directions(features) if net is not None else {}

    def __call__(self, image_NCHW: Tensor) -> Distances:
        """Return the distances of images, about [-1, 1]; differentiable."""
        pixels_N = (image_NCHW - self.target_1CHW).square().mean(dim=(1, 2, 3))
        features_N = torch.zeros_like(pixels_N)
        if self.net is not None:
            for name, x in directions(self.net(image_NCHW)).items():
                gap = (x - self._maps[name]).square().sum(dim=1)  # 0 to 4 at each place
                features_N = features_N + gap.flatten(1).mean(dim=1) / len(self._maps)
        total_N = self._feature_weight * features_N + self._pixel_weight * pixels_N
        return Distances(total_N, features_N, pixels_N)


def directions(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a net's maps with vectors of unit length along dim 1; without maps, its pooled vector.

    Raises:
        ValueError: the net gives neither.
    """
    maps = {name: x for name, x in features.items() if x.ndim >= 3}
    if not maps and "pooled" in features:
        maps = {"pooled": features["pooled"][:, :, None]}
    if not maps:
        raise ValueError(f"a net of {', '.join(features)} gives no features to compare")
    # The square root's gradient is infinite at 0: a floor inside it.
    return {
        name: x * x.square().sum(dim=1, keepdim=True).add(1e-10).rsqrt() for name, x in maps.items()
    }
