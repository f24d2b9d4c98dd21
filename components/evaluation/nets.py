"""The frozen nets that measure, each with the facts for a metric's card.

Three places they come from: the encoders stage (its roles), torch-fidelity's Inception file, and a
published CLIP for the CLIP score.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.artifacts.frozen_nets import is_absent, present_roles
from components.errors import ConfigError, StorageError
from components.pretraining.config import PretrainedConfig

INCEPTION = "inception"
NOT_PUBLISHED = "not the published weights (their sha256 begins with 6726825d): no FID of a paper"


@dataclass(frozen=True, kw_only=True)
class MeasuringNet:
    """A frozen feature net and the facts that a metric measured with it must name."""

    network: Any
    role: str
    name: str
    sha256: str
    resizer: str
    dtype: str = "float32"
    note: str = ""


def open_net(encoders: Path, role: str, device: torch.device | str = "cpu") -> MeasuringNet:
    """Load the encoder of a role for measuring, in float32.

    Raises:
        StorageError: its folder is missing or damaged.
    """
    from models.features import load_feature_net, read_card

    folder = encoders / role
    try:
        card = read_card(folder)
        network = load_feature_net(folder).float().to(device)
    except ValueError as error:
        raise StorageError(str(error), str(folder), "run the encoders stage again") from error
    return MeasuringNet(
        network=network,
        role=role,
        name=net_name(role, card.kind, card.architecture),
        sha256=card.sha256,
        resizer=f"area to {card.image_size_px} px",
    )


def net_name(role: str, kind: str, architecture: Mapping[str, Any]) -> str:
    """Return the name that metrics of a net carry: `judge`, or the network's own name."""
    name = role if kind == "attributes" else str(architecture.get("name") or role)
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def open_inception(file: Path, where: str, device: torch.device | str = "cpu") -> MeasuringNet:
    """Load Inception from torch-fidelity's weights file: the only net whose distance is an FID.

    Args:
        file: the weights.
        where: the parameter that names the file, for the error.
        device: where to measure.

    Raises:
        StorageError: the file is missing, is not safe to open, or holds other tensors.
    """
    from models.features.inception import SIDE_PX, load_inception

    try:
        network = load_inception(file)
    except ValueError as error:
        todo = "give pt_inception-2015-12-05-6726825d.pth of torch-fidelity or pytorch-fid"
        raise StorageError(f"{file}: {error}", where, todo) from error
    return MeasuringNet(
        network=network.to(device),
        role=INCEPTION,
        name=INCEPTION,
        sha256=network.sha256,
        resizer=f"bilinear of TensorFlow 1 to {SIDE_PX} px",
        note="" if network.published else NOT_PUBLISHED,
    )


def open_distance_net(
    role: str, inception_file: str, encoders: Path, device: torch.device | str = "cpu"
) -> MeasuringNet:
    """Load the net of the distances: an encoder, or Inception from its file.

    Raises:
        ConfigError: there is no encoder of that role.
        StorageError: the net is damaged.
    """
    if role == INCEPTION and inception_file:
        return open_inception(Path(inception_file), "evaluate.inception_file", device)
    present = present_roles(encoders)
    if role not in present:
        raise ConfigError(
            f"feature_role is {role}, encoders here: {', '.join(present)}",
            "evaluate.feature_role",
            "set inception_file as well" if role == INCEPTION else "name one of them",
        )
    return open_net(encoders, role, device)


class BicubicInput(nn.Module):
    """A published CLIP behind the resize that CLIP scores are taken with: bicubic, no antialias.

    Args:
        net: a ClipNet; what reaches it has its size already.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        """Return the net's features of images in [-1, 1] of any size."""
        size = (self.net.image_size, self.net.image_size)
        if image_NCHW.shape[-2:] != size:
            image_NCHW = F.interpolate(image_NCHW, size=size, mode="bicubic", antialias=False)
        return self.net(image_NCHW)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Return L2-normalised embeddings of captions."""
        return self.net.encode_text(texts)


def open_scorer(
    config: PretrainedConfig,
    encoders: Path | None,
    where: str,
    device: torch.device | str = "cpu",
) -> MeasuringNet | None:
    """Load the CLIP of the CLIP score.

    The published one that `config` names; else the encoders' `scorer`, which nothing else uses;
    else their `clip`, which also guides; else none.

    Raises:
        ConfigError: the name is not one of open_clip's, or a file is given without a name.
        DataError: the weights cannot be had or do not fit.
        StorageError: the encoder's folder is damaged.
    """
    if config.name:
        return _published_clip(config, where, device)
    if config.file or config.tag:
        todo = "name the model too, such as ViT-g-14"
        raise ConfigError("a tag or a file without a name", f"{where}.name", todo)
    for role in ("scorer", "clip"):
        if encoders is not None and not is_absent(encoders, role):
            return open_net(encoders, role, device)
    return None


def _published_clip(
    config: PretrainedConfig, where: str, device: torch.device | str
) -> MeasuringNet:
    from components.pretraining.pretrained import open_pretrained

    net, _ = open_pretrained("clip", config, where)
    return MeasuringNet(
        network=BicubicInput(net.float().to(device)),
        role="scorer",
        name=net_name("scorer", "clip", {"name": f"{config.name} {config.tag}"}),
        sha256=weights_sha256(net.network),
        resizer=f"bicubic to {net.image_size} px",
    )


def weights_sha256(network: nn.Module) -> str:
    """Return the sha256 that a net's weights have as a file of the encoders stage.

    Equal weights are recognised wherever they came from. Needs the file once more in memory.
    """
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in network.state_dict().items()}
    return hashlib.sha256(save(tensors)).hexdigest()
