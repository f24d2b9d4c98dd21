"""The judge: a small CNN that names shape, colour, background and size. No gradient and no filter
ever uses it.

Legend: N samples, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.features.frozen import FrozenNet


class AttributeCnn(nn.Module):
    """Convolutions, mean and maximum over the last map, a hidden layer, a linear head each.

    The maximum finds a small shape wherever it is; a flattened last map would have to learn every
    shape at every place (measured: 0.99 against 0.70 of the shapes right after 40 kimg).

    Args:
        widths: channels of each convolution.
        strides: step of each convolution.
        pooled_dim: width of the hidden layer, the features a Frechet distance is taken on.
        classes: attribute -> its values.
    """

    def __init__(
        self,
        widths: list[int],
        strides: list[int],
        pooled_dim: int,
        classes: dict[str, list[str]],
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in zip([3, *widths[:-1]], widths, strides, strict=True):
            convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Linear(2 * widths[-1], pooled_dim), nn.GELU())
        self.heads = nn.ModuleDict({k: nn.Linear(pooled_dim, len(v)) for k, v in classes.items()})

    def forward(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """Return {"pooled"} and one entry of logits per attribute."""
        x = self.trunk(x_NCHW)
        pooled = self.hidden(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))
        return {"pooled": pooled} | {name: head(pooled) for name, head in self.heads.items()}


class AttributeNet(FrozenNet):
    """The judge as a feature net: {"pooled", "shape", "colour", "background", "size"}."""

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
            architecture: widths, strides, pooled_dim, classes (see AttributeCnn).
            preprocessing: image_size_px, mean, std.
        """
        network = AttributeCnn(**architecture)
        return cls(network, architecture, **preprocessing)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the features of images in [-1, 1] of any size."""
        return self.network(self.preprocess(image_NCHW))
