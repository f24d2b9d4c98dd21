"""Frozen feature nets: image in [-1, 1] of any size -> dict of features; none of them trains.

`load_feature_net` opens a folder that the encoders stage left.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from models.features.attributes import AttributeNet
from models.features.clip import ClipNet, ClipText
from models.features.cnn import CnnNet
from models.features.folder import FeatureCard, check_weights, read_card, read_weights, write_net
from models.features.lpips import LpipsNet
from models.features.vit import VitNet
from models.untrusted.bounded_build import BROKEN, file_shapes, outline

KINDS: dict[str, Any] = {
    "clip": ClipNet,
    "clip_text": ClipText,
    "vit": VitNet,
    "cnn": CnnNet,
    "lpips": LpipsNet,
    "attributes": AttributeNet,
}


def build_feature_net(card: FeatureCard) -> Any:
    """Return the net that a card describes, with fresh weights.

    Raises:
        ValueError: the card names a kind that is not known.
    """
    if card.kind not in KINDS:
        raise ValueError(f"feature net kind {card.kind!r}: wanted one of {', '.join(KINDS)}")
    preprocessing = {"image_size_px": card.image_size_px, "mean": card.mean, "std": card.std}
    return KINDS[card.kind].build(card.architecture, **preprocessing)


def load_feature_net(folder: Path | str) -> Any:
    """Return the net stored in `folder`: in eval mode, its weights frozen and verified.

    Raises:
        ValueError: the folder is not a feature net's, or its weights are not the card's.
    """
    folder = Path(folder)
    card = read_card(folder)
    shapes = file_shapes(check_weights(folder, card))
    try:
        # Not every library builds without memory; then the real building says what is wrong.
        with suppress(*(kind for kind in BROKEN if kind is not ValueError)):
            outline(lambda: build_feature_net(card), shapes)
        net = build_feature_net(card)
    except BROKEN as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{folder / 'card.json'} describes no network: {text}") from error
    read_weights(folder, net.network, card)
    return net.requires_grad_(False).eval()


def save_feature_net(folder: Path | str, net: Any, **facts: Any) -> FeatureCard:
    """Write a net as a folder that `load_feature_net` opens; return its card.

    Args:
        folder: where; made if absent, files in it are overwritten.
        net: one of the classes in KINDS.
        facts: role and source; metrics and seconds if known.
    """
    preprocessing: dict[str, Any] = {"image_size_px": 0, "mean": [0.0] * 3, "std": [1.0] * 3}
    if hasattr(net, "preprocess"):
        preprocessing = {
            "image_size_px": net.preprocess.image_size_px,
            "mean": net.preprocess.mean.flatten().tolist(),
            "std": net.preprocess.std.flatten().tolist(),
        }
    card = FeatureCard(kind=net.kind, architecture=net.architecture, **preprocessing, **facts)
    return write_net(Path(folder), net.network, card)


__all__ = [
    "KINDS",
    "FeatureCard",
    "build_feature_net",
    "load_feature_net",
    "read_card",
    "save_feature_net",
]
