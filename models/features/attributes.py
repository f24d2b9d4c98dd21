"""The judge: a small CNN that names shape, colour, background and size. No gradient and no filter
ever uses it.

Legend: N samples, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from models.features.frozen import FrozenNet


class AttributeCnn(nn.Module):
    """Convolutions of stride 2, a hidden layer over the whole last map, one linear head per
    attribute.

    The last map is flattened, not averaged: where things are is what tells a large square from a
    small one.

    Args:
        image_size_px: side of the input.
        widths: channels after each halving of the side.
        pooled_dim: width of the hidden layer, the features a Frechet distance is taken on.
        classes: attribute -> its values.
    """

    def __init__(
        self, image_size_px: int, widths: list[int], pooled_dim: int, classes: dict[str, list[str]]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip([3, *widths[:-1]], widths, strict=True):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        side = image_size_px // 2 ** len(widths)
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(widths[-1] * side * side, pooled_dim), nn.GELU())
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
            architecture: widths, pooled_dim, classes (see AttributeCnn).
            preprocessing: image_size_px, mean, std.
        """
        network = AttributeCnn(preprocessing["image_size_px"], **architecture)
        return cls(network, architecture, **preprocessing)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the features of images in [-1, 1] of any size."""
        return self.network(self.preprocess(image_NCHW))
