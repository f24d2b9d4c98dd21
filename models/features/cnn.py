"""A frozen timm CNN: feature maps at four strides, pooled features and class logits.

Projected GAN's discriminator reads the feature maps.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from models.features.frozen import FrozenNet

NUM_STAGES = 4


class CnnNet(FrozenNet):
    """{"stage_0" ... "stage_3": [N, C, H, W], "pooled": [N, D]} and "logits" when it has a head.

    The stages are the last four of timm's feature list: strides 4, 8, 16, 32 for every usual CNN.
    """

    kind: ClassVar[str] = "cnn"

    def __init__(self, network: Any, architecture: dict[str, Any], **preprocessing: Any) -> None:
        super().__init__(network, architecture, **preprocessing)
        stages = network.feature_info[-NUM_STAGES:]
        self.stage_channels: list[int] = [stage["num_chs"] for stage in stages]
        self.stage_strides: list[int] = [stage["reduction"] for stage in stages]

    @classmethod
    def build(cls, architecture: dict[str, Any], **preprocessing: Any) -> CnnNet:
        """Return the net with fresh weights.

        Args:
            architecture: name (of timm), arguments (of timm.create_model; num_classes 0 for no
                head).
            preprocessing: image_size_px, mean, std.
        """
        import timm

        network = timm.create_model(
            architecture["name"], pretrained=False, **architecture["arguments"]
        )
        if not hasattr(network, "forward_intermediates"):
            raise ValueError(f"timm's {architecture['name']} does not give intermediate features")
        return cls(network, architecture, **preprocessing)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the features of images in [-1, 1] of any size."""
        last, maps = self.network.forward_intermediates(self.preprocess(image_NCHW))
        features = {f"stage_{index}": x for index, x in enumerate(maps[-NUM_STAGES:])}
        features["pooled"] = self.network.forward_head(last, pre_logits=True)
        if self.network.num_classes > 0:
            features["logits"] = self.network.forward_head(last)
        return features

    def pyramid(self, image_NCHW: Tensor, least_px: int) -> dict[str, Tensor]:
        """Return the stages alone, of images in [-1, 1] at their own size (Projected GAN).

        Args:
            image_NCHW: square images; smaller ones are enlarged (bilinear), larger ones never
                shrunk, so that the maps grow with the image.
            least_px: the side below which they are enlarged.
        """
        if image_NCHW.shape[-1] < least_px:
            size = (least_px, least_px)
            image_NCHW = F.interpolate(image_NCHW, size, mode="bilinear", align_corners=False)
        maps = self.network.forward_intermediates(
            self.preprocess.normalise(image_NCHW), intermediates_only=True
        )
        return {f"stage_{index}": x for index, x in enumerate(maps[-NUM_STAGES:])}

    @torch.no_grad()
    def stage_sides(self, size_px: int) -> list[int]:
        """Return the sides of the stages' maps for an image of `size_px`, in pixels."""
        weight = next(self.network.parameters())
        image = torch.zeros(1, 3, size_px, size_px, device=weight.device, dtype=weight.dtype)
        return [x.shape[-1] for x in self.pyramid(image, size_px).values()]
