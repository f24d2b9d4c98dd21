"""LPIPS on VGG-16 (Zhang et al. 2018, section 3.1): how far apart two images are to a person.

Five maps, each after the last ReLU before a pooling (and the last of all). Feature vectors of unit
length are subtracted and squared, weighted by what was learnt for each channel (the heads), summed
over channels, averaged over places and summed over maps. Version 0.1 of the published weights.

The published scaling, (x - [-.030, -.088, -.188]) / [.458, .448, .450] for x in [-1, 1], is
ImageNet's mean and deviation to its three digits.

Legend: N images, C channels, H W pixels, s side of a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from models.features.frozen import FrozenNet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DEPTHS = (2, 2, 3, 3, 3)  # convolutions of each block of VGG-16
SIDE_PX = 224  # only where features of one size are asked for; a distance takes any size
EPSILON = 1e-10  # of the published normalisation
UNUSED = ("classifier.", "pre_logits.", "head.")  # VGG's layers behind its maps
NUM_LISTED = 4


class LpipsNet(FrozenNet):
    """{"stage_0" ... "stage_4": [N, C, s, s], "pooled": [N, C]} and `distance` of two images."""

    kind: ClassVar[str] = "lpips"

    @classmethod
    def build(cls, architecture: dict[str, Any], **preprocessing: Any) -> LpipsNet:
        """Return the net with fresh weights.

        Args:
            architecture: widths, the channels of the five blocks.
            preprocessing: image_size_px, mean, std.
        """
        return cls(_network(architecture["widths"]), architecture, **preprocessing)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the features of images in [-1, 1] of any size."""
        maps = self._maps(self.preprocess(image_NCHW))
        features = {f"stage_{index}": x for index, x in enumerate(maps)}
        features["pooled"] = maps[-1].mean(dim=(2, 3))
        return features

    def distance(self, image_NCHW: Tensor, other_NCHW: Tensor) -> Tensor:
        """Return [N]: LPIPS, from 0, of images in [-1, 1] at their own size (16 px or more).

        The gradient flows through both.
        """
        both = (image_NCHW.float(), other_NCHW.float())
        pairs = zip(*(self._maps(self.preprocess.normalise(x)) for x in both), strict=True)
        total = torch.zeros(len(image_NCHW), device=image_NCHW.device)
        for index, (x, other) in enumerate(pairs):
            weight_1C11 = self.network.lins[index].weight
            apart = (_of_unit_length(x) - _of_unit_length(other)).square() * weight_1C11
            total = total + apart.sum(dim=1).mean(dim=(1, 2))
        return total

    def _maps(self, x_NCHW: Tensor) -> list[Tensor]:
        maps = []
        for index, layer in enumerate(self.network.features):
            x_NCHW = layer(x_NCHW)
            if index in self.network.taps:
                maps.append(x_NCHW)
        return maps


def _of_unit_length(x_NCHW: Tensor) -> Tensor:
    # Not F.normalize: published numbers have epsilon added, and a root of 0 has no gradient.
    length = x_NCHW.square().sum(dim=1, keepdim=True)
    root = torch.where(length > 0, length, 1.0).sqrt() * (length > 0)
    return x_NCHW / (root + EPSILON)


def _network(widths: Sequence[int]) -> nn.Module:
    """Return VGG-16's convolutions under torchvision's names, and a head for each block."""
    layers: list[nn.Module] = []
    taps, channels = [], 3
    for width, depth in zip(widths, DEPTHS, strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        taps.append(len(layers) - 1)
    network: Any = nn.Module()
    network.features, network.taps = nn.Sequential(*layers), tuple(taps)
    network.lins = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)
    return network  # type: ignore[no-any-return]


def load_lpips(vgg: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> LpipsNet:
    """Return LPIPS with published weights.

    Args:
        vgg: torchvision's VGG-16, or timm's vgg16.tv_in1k; what stands behind its maps is not read.
        heads: those of the `lpips` package, version 0.1 (lin0.model.1.weight to lin4).

    Raises:
        ValueError: the tensors are another network's.
    """
    trunk = {n: x for n, x in vgg.items() if not n.startswith(UNUSED)}
    names = [f"lin{index}.model.1.weight" for index in range(len(DEPTHS))]
    if sorted(heads) != names or any(heads[n].ndim != 4 for n in names):
        raise ValueError(f"the heads are {_some(heads)}: wanted {names[0]} to lin4, [1, C, 1, 1]")
    architecture = {"widths": [heads[name].shape[1] for name in names]}
    given = trunk | {f"lins.{n}.weight": heads[name] for n, name in enumerate(names)}
    with torch.device("meta"):
        wanted = {n: x.shape for n, x in _network(architecture["widths"]).state_dict().items()}
    differ = [
        name
        for name in sorted(wanted.keys() | given.keys())
        if name not in wanted or name not in given or given[name].shape != wanted[name]
    ]
    if differ:
        raise ValueError(
            f"not VGG-16 and its heads: {_some(differ)} missing, unknown or of another shape"
        )
    for name, x in given.items():
        if not x.is_floating_point() or not bool(x.isfinite().all()):
            raise ValueError(f"{name} of VGG-16 or its heads holds what is no finite number")
    net = LpipsNet.build(architecture, image_size_px=SIDE_PX, mean=MEAN, std=STD)
    net.network.load_state_dict(given)
    return net


def _some(names: Any) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - NUM_LISTED} more" if len(listed) > NUM_LISTED else ""
    return (", ".join(listed[:NUM_LISTED]) or "nothing") + more
