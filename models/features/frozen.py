"""The base of every frozen net: always in eval mode, and no gradient reaches its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import nn

from models.features.preprocess import Preprocess


class FrozenNet(nn.Module):
    """A third party's network behind our convention: image in [-1, 1] of any size -> dict of
    features.

    `network` alone holds the weights, under the names of the library it comes from, so that a file
    of the hub and a file of ours are the same thing. The gradient flows through to the image.

    Args:
        network: the network.
        architecture: what the class's `build` needs to make an empty copy (JSON).
        image_size_px, mean, std: the network's own preprocessing.
    """

    kind: ClassVar[str]
    # What the library's class has beyond nn.Module, no type of ours knows.
    network: Any

    def __init__(
        self,
        network: nn.Module,
        architecture: dict[str, Any],
        *,
        image_size_px: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.architecture = architecture
        self.preprocess = Preprocess(image_size_px, mean, std)
        self.eval()

    @property
    def image_size(self) -> int:
        """Side of the network's square input, in pixels."""
        return self.preprocess.image_size_px

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: a discriminator that is switched to training must not switch its
        feature net.
        """
        return super().train(False)
