"""A frozen net on disk: `model.safetensors`, and the card that rebuilds the net.

The weights stand under the library's own names.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

WEIGHTS, CARD = "model.safetensors", "card.json"


@dataclass(frozen=True, kw_only=True)
class FeatureCard:
    """What a frozen net is and where it comes from.

    Attributes:
        role: what it serves as: clip, dino, classifier, judge.
        kind: which class holds it: clip, clip_text, vit, cnn, attributes.
        architecture: what the class's `build` needs.
        image_size_px, mean, std: its preprocessing (statistics of images in [0, 1]).
        source: where the weights come from, in words.
        sha256: of the weights file.
        metrics: measured when it was made.
        seconds: time that making it took.
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


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_net(folder: Path, network: nn.Module, card: FeatureCard) -> FeatureCard:
    """Write weights and card into `folder` (made if absent); return the card with the weights'
    sha256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Clones: some towers hold views of one tensor, which the format refuses.
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
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
        content = json.loads((folder / CARD).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"no readable card of a feature net in {folder}: {error}") from error
    if not isinstance(content, dict) or set(content) != {f.name for f in fields(FeatureCard)}:
        raise ValueError(f"{folder / CARD} is not the card of a feature net")
    return FeatureCard(**content)


def read_weights(folder: Path, network: nn.Module, card: FeatureCard) -> None:
    """Load the weights of `folder` into `network`, checked against the card's sha256 and name by
    name.

    Raises:
        ValueError: the file is missing, is not the card's, or does not fit the network.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    found = file_sha256(path)
    if found != card.sha256:
        raise ValueError(f"{path} has sha256 {found}, its card says {card.sha256}")
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its card: {' '.join(str(error).split())}") from error
