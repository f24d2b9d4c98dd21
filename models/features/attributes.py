"""The judge: a small CNN that names shape, colour, background and size, of one object or two.

No gradient and no filter ever uses it.

Legend: N samples, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.features.conv_trunk import ConvTrunk
from models.features.frozen import FrozenNet


class AttributeCnn(nn.Module):
    """Convolutions, a hidden layer, one linear head per attribute.

    Args:
        widths, strides: of the convolutions, see ConvTrunk.
        pooled_dim: width of the hidden layer, the features a Frechet distance is taken on.
        classes: attribute -> its values.
        places: the convolutions are told where each pixel is, by two more channels (CoordConv,
            arXiv 1807.03247): where one object is left of another, what is pooled over the whole
            image must remember from where.
    """

    def __init__(
        self,
        widths: list[int],
        strides: list[int],
        pooled_dim: int,
        classes: dict[str, list[str]],
        places: bool = False,
    ) -> None:
        super().__init__()
        self.places = places
        self.trunk = ConvTrunk(widths, strides, 5 if places else 3)
        self.hidden = nn.Sequential(nn.Linear(self.trunk.width, pooled_dim), nn.GELU())
        self.heads = nn.ModuleDict({k: nn.Linear(pooled_dim, len(v)) for k, v in classes.items()})

    def forward(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """Return {"pooled"} and one entry of logits per attribute."""
        if self.places:
            height, width = x_NCHW.shape[2:]
            line = [torch.linspace(-1, 1, size).to(x_NCHW) for size in (height, width)]
            where_CHW = torch.stack(torch.meshgrid(*line, indexing="ij"))
            x_NCHW = torch.cat([x_NCHW, where_CHW.expand(len(x_NCHW), -1, -1, -1)], dim=1)
        pooled = self.hidden(self.trunk(x_NCHW))
        return {"pooled": pooled} | {name: head(pooled) for name, head in self.heads.items()}


class AttributeNet(FrozenNet):
    """The judge as a feature net: "pooled", and logits of "shape", "colour", "background", "size",
    of two objects also of "shape_2", "colour_2", "size_2" and "relation".
    """

    kind: ClassVar[str] = "attributes"

    def __init__(
        self, network: nn.Module, architecture: dict[str, Any], **preprocessing: Any
    ) -> None:
        super().__init__(network, architecture, **preprocessing)
        self.classes: dict[str, list[str]] = architecture["classes"]

    @classmethod
    def build(cls, architecture: dict[str, Any], **preprocessing: Any) -> AttributeNet:
        """Return the net with fresh weights.

        Args:
            architecture: widths, strides, pooled_dim, classes, places (see AttributeCnn).
            preprocessing: image_size_px, mean, std.
        """
        network = AttributeCnn(**architecture)
        return cls(network, architecture, **preprocessing)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the features of images in [-1, 1] of any size."""
        return self.network(self.preprocess(image_NCHW))
