"""The network of the Frechet Inception Distance (Heusel et al. 2017), as in torch-fidelity.

The blocks, their weights' names and the TensorFlow 1 resize are torch-fidelity's own; its class is
not taken whole because it unpickles the file it is given. Legend: N samples, H W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.features.folder import file_sha256

SIDE_PX = 299
FEATURE_DIM = 2048
# Both files that carry these weights end their names in the first digits of their sha256.
PUBLISHED_DIGITS = "6726825d"
NUM_LISTED = 8  # names shown in an error


class InceptionNet(nn.Module):
    """Images in [-1, 1] of any size -> {"pooled": [N, 2048]}, the layer that FID is taken on.

    Args:
        sha256: of the file that the weights came from.
    """

    def __init__(self, sha256: str = "") -> None:
        super().__init__()
        self.network = _network()
        self.sha256 = sha256
        self.requires_grad_(False).eval()

    @property
    def published(self) -> bool:
        """Whether the weights are those that papers measure with."""
        return self.sha256.startswith(PUBLISHED_DIGITS)

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the pooled features."""
        from torch_fidelity.interpolate_compat_tensorflow import (
            interpolate_bilinear_2d_like_tensorflow1x,
        )

        # The levels that an 8-bit file holds: 0 to 255, to the last bit.
        levels = ((image_NCHW + 1) * 127.5).round().clamp(0, 255)
        x = interpolate_bilinear_2d_like_tensorflow1x(
            levels, size=(SIDE_PX, SIDE_PX), align_corners=False
        )
        x = (x - 128) / 128
        for name, layer in self.network.named_children():
            if name != "fc":
                x = layer(x)
        return {"pooled": x.flatten(1)}


def _network() -> nn.ModuleDict:
    """Return the layers in the order in which they run; `fc` is in the file and never used."""
    from torch_fidelity import feature_extractor_inceptionv3 as blocks

    convolution = blocks.BasicConv2d
    layers: dict[str, nn.Module] = {
        "Conv2d_1a_3x3": convolution(3, 32, kernel_size=3, stride=2),
        "Conv2d_2a_3x3": convolution(32, 32, kernel_size=3),
        "Conv2d_2b_3x3": convolution(32, 64, kernel_size=3, padding=1),
        "MaxPool_1": nn.MaxPool2d(3, stride=2),
        "Conv2d_3b_1x1": convolution(64, 80, kernel_size=1),
        "Conv2d_4a_3x3": convolution(80, 192, kernel_size=3),
        "MaxPool_2": nn.MaxPool2d(3, stride=2),
        "Mixed_5b": blocks.InceptionA(192, pool_features=32),
        "Mixed_5c": blocks.InceptionA(256, pool_features=64),
        "Mixed_5d": blocks.InceptionA(288, pool_features=64),
        "Mixed_6a": blocks.InceptionB(288),
        "Mixed_6b": blocks.InceptionC(768, channels_7x7=128),
        "Mixed_6c": blocks.InceptionC(768, channels_7x7=160),
        "Mixed_6d": blocks.InceptionC(768, channels_7x7=160),
        "Mixed_6e": blocks.InceptionC(768, channels_7x7=192),
        "Mixed_7a": blocks.InceptionD(768),
        "Mixed_7b": blocks.InceptionE_1(1280),
        "Mixed_7c": blocks.InceptionE_2(2048),
        "AvgPool": nn.AdaptiveAvgPool2d((1, 1)),
        "fc": nn.Linear(FEATURE_DIM, 1008),
    }
    return nn.ModuleDict(layers)


def load_inception(path: Path) -> InceptionNet:
    """Return Inception with the weights of a file: torch-fidelity's, or pytorch-fid's.

    Raises:
        ValueError: there is no such file, it holds more than tensors, or they are not Inception's.
    """
    if not path.is_file():
        raise ValueError("no such file")
    try:
        weights = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    # A file that is no checkpoint breaks the reader in many ways; none of them runs its code.
    except Exception as error:
        text = " ".join(str(error).split())[:120]
        raise ValueError(f"not a file of tensors alone ({type(error).__name__}: {text})") from error
    net = InceptionNet(file_sha256(path))
    if problem := _misfit(net.network, weights):
        raise ValueError(f"the tensors are not Inception's: {problem}")
    net.network.load_state_dict(dict(weights), strict=False)
    return net


def _misfit(network: nn.Module, weights: Any) -> str:
    """Say which names are missing, unexpected or of another shape; "" when all is well."""
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and torch.is_tensor(x) for name, x in weights.items()
    ):
        return f"a {type(weights).__name__}, wanted names with tensors"
    # Counters of batch norm, which older files lack and evaluation never reads.
    wanted = {
        name: x
        for name, x in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    given = {name: x for name, x in weights.items() if not name.endswith("num_batches_tracked")}
    found = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(
            f"{name} is {list(given[name].shape)}, wanted {list(x.shape)}"
            for name, x in wanted.items()
            if name in given and given[name].shape != x.shape
        ),
        "not finite": sorted(name for name, x in given.items() if not torch.isfinite(x).all()),
    }
    return "; ".join(f"{len(found[k])} {k}: {_some(found[k])}" for k in found if found[k])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NUM_LISTED} more" if len(names) > NUM_LISTED else ""
    return ", ".join(names[:NUM_LISTED]) + more
