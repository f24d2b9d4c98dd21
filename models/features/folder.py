"""A frozen net on disk: `model.safetensors`, and the card that rebuilds the net.

The weights stand under the library's own names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.untrusted.json_file import read_json

WEIGHTS, CARD = "model.safetensors", "card.json"
FULL, HALF = "float32", "float16"
SIDE_LIMIT = 2**14


@dataclass(frozen=True, kw_only=True)
class FeatureCard:
    """What a frozen net is and where it comes from.

    Attributes:
        role: what it serves as: clip, dino, classifier, judge.
        kind: which class holds it: clip, clip_text, vit, cnn, lpips, attributes.
        architecture: what the class's `build` needs.
        image_size_px, mean, std: its preprocessing (statistics of images in [0, 1]).
        source: where the weights come from, in words.
        sha256: of the weights file.
        metrics: measured when it was made.
        seconds: time that making it took.
        stored: float32, or float16 for a file whose matrices and kernels are rounded to half
            precision; in memory all weights are float32 either way.
        origin: of a bundled net: preset, commit, data, licence; empty for others.
    """

    role: str
    kind: str
    architecture: dict[str, Any]
    image_size_px: int
    mean: list[float]
    std: list[float]
    source: str
    sha256: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    stored: str = FULL
    origin: dict[str, str] = field(default_factory=dict)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def halve(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 matrices and kernels as float16, all else as it is.

    What has one dimension or none stays: biases, norms with their running statistics, scales. It is
    small, and rounding it moves whole channels. So does a tensor with a value beyond float16.
    """

    def half(tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float32 or tensor.ndim < 2:
            return tensor
        rounded = tensor.half()
        return rounded if bool(rounded.isfinite().all()) else tensor

    return {name: half(tensor) for name, tensor in tensors.items()}


def write_net(folder: Path, network: nn.Module, card: FeatureCard) -> FeatureCard:
    """Write weights, as `card.stored` says, and card into `folder` (made if absent); return the
    card with the weights' sha256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Clones: some towers hold views of one tensor, which the format refuses.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in network.state_dict().items()}
    save_file(halve(tensors) if card.stored == HALF else tensors, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # the library leaves it readable by its owner alone
    card = FeatureCard(**asdict(card) | {"sha256": file_sha256(folder / WEIGHTS)})
    (folder / CARD).write_text(json.dumps(asdict(card), indent=1, sort_keys=True) + "\n")
    return card


def read_card(folder: Path) -> FeatureCard:
    """Read the card of a frozen net's folder.

    Raises:
        ValueError: there is no card, or it is not one of ours.
    """
    try:
        content = read_json(folder / CARD)
    except (OSError, ValueError) as error:
        raise ValueError(f"no readable card of a feature net in {folder}: {error}") from error
    known = {f.name: f for f in fields(FeatureCard)}
    # Cards of earlier versions lack what came later, and that has a default.
    needed = {
        name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING
    }
    if not isinstance(content, dict) or not needed <= set(content) <= set(known):
        raise ValueError(f"{folder / CARD} is not the card of a feature net")
    card = FeatureCard(**content)
    texts = (card.role, card.kind, card.source, card.sha256, card.stored)
    channels = (card.mean, card.std)
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(card.architecture, dict)
        or type(card.image_size_px) is not int
        or not 0 <= card.image_size_px <= SIDE_LIMIT
        or not all(isinstance(c, list) and len(c) == 3 for c in channels)
        or not all(isinstance(x, int | float) for channel in channels for x in channel)
    ):
        raise ValueError(f"{folder / CARD} holds a field of another type than a feature net's")
    return card


def check_weights(folder: Path, card: FeatureCard) -> Path:
    """Return the path of the weights of `folder`.

    Raises:
        ValueError: the file is missing, or is not the one that the card's sha256 names.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    found = file_sha256(path)
    if found != card.sha256:
        raise ValueError(f"{path} has sha256 {found}, its card says {card.sha256}")
    return path


def read_weights(folder: Path, network: nn.Module, card: FeatureCard) -> None:
    """Load the weights of `folder` into `network`, checked against the card's sha256, name by name
    and type by type.

    The network keeps its own types: half precision is rounded on disk alone, and copying it into
    float32 weights is exact.

    Raises:
        ValueError: the file is missing, is not the card's, or does not fit the network.
    """
    path = check_weights(folder, card)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not readable as safetensors: {error}") from error
    own = network.state_dict()
    for name, tensor in tensors.items():
        allowed = {own[name].dtype if name in own else tensor.dtype}
        if card.stored == HALF and torch.float32 in allowed:
            allowed.add(torch.float16)
        if tensor.dtype not in allowed:
            raise ValueError(f"{path}: {name} is {tensor.dtype}, its card says {card.stored}")
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its card: {' '.join(str(error).split())}") from error
