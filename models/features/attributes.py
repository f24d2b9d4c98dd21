"""The judge: a small CNN that names shape, colour, background and size.

No gradient and no filter ever uses it.

Legend: N samples, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from models.features.conv_trunk import ConvTrunk
from models.features.frozen import FrozenNet


class AttributeCnn(nn.Module):
    """Convolutions, a hidden layer, one linear head per attribute.

    Args:
        widths, strides: of the convolutions, see ConvTrunk.
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
        self.trunk = ConvTrunk(widths, strides)
        self.hidden = nn.Sequential(nn.Linear(self.trunk.width, pooled_dim), nn.GELU())
        self.heads = nn.ModuleDict({k: nn.Linear(pooled_dim, len(v)) for k, v in classes.items()})

    def forward(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """Return {"pooled"} and one entry of logits per attribute."""
        pooled = self.hidden(self.trunk(x_NCHW))
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
