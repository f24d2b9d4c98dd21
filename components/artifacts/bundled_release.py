"""Make the bundled release: the same model in half precision, where a person sees no difference."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from components.artifacts.artifact import CARD, GENERATOR, TEXT_ENCODER, read_card, read_weights
from components.artifacts.release import MODEL_CARD, content_hash
from components.durable_files import file_hash
from components.errors import StorageError
from components.requests.subjects import kind_of

# Of 255: below it no eye tells two pictures apart, and most pixels are equal.
MOST_LEVELS = 0.25

Draw = Callable[[Path], np.ndarray]


def bundle_release(
    source: Path, folder: Path, origin: Mapping[str, Any], draw: Draw
) -> dict[str, Any]:
    """Write a release as the bundled one; return its card.

    Args:
        source: a release of a text-to-image model.
        folder: where; must not exist.
        origin: what the card tells about where it comes from.
        draw: a release's folder -> images, uint8 [N, H, W, 3]; the same ones at every call.

    Raises:
        StorageError: `source` is damaged, or no release of a model that takes text.
    """
    card = read_card(source)
    if "release" not in card or kind_of(card) != "text":
        what = "not a release of a text-to-image model"
        raise StorageError(what, str(source), "give what the publish stage wrote")
    before = draw(source).astype(np.int16)
    halved = _write(source, folder, card, {**origin, "stored": "float16"})
    levels = np.abs(draw(folder).astype(np.int16) - before)
    facts = {"mean_levels": round(float(levels.mean()), 4), "most_levels": int(levels.max())}
    if facts["mean_levels"] <= MOST_LEVELS:
        return _told(folder, halved, facts)
    shutil.rmtree(folder)
    shutil.copytree(source, folder)
    return _told(folder, card | {"bundled": {**origin, "stored": "float32"}}, {})


def _write(source: Path, folder: Path, card: dict[str, Any], origin: dict[str, Any]) -> dict:
    from safetensors.torch import save_file

    from models.features import load_feature_net
    from models.features import read_card as read_net_card
    from models.features.folder import HALF, halve, write_net

    shutil.copytree(source, folder)
    save_file(halve(read_weights(source / GENERATOR)), folder / GENERATOR)
    (folder / GENERATOR).chmod(0o644)  # the library leaves it readable by its owner alone
    text, text_card = load_feature_net(source / TEXT_ENCODER), read_net_card(source / TEXT_ENCODER)
    text_sha256 = write_net(
        folder / TEXT_ENCODER, text.network, replace(text_card, stored=HALF)
    ).sha256
    card = card | {"files": {GENERATOR: file_hash(folder / GENERATOR)}, "bundled": origin}
    release = card["release"] | {"text_encoder_sha256": text_sha256}
    card["release"] = release | {"content_hash": content_hash(card, text_sha256)}
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")
    return card


def _told(folder: Path, card: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the card with what was measured, and the same in words into the model card."""
    card = card | {"bundled": {**card["bundled"], **facts}}
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n")
    if facts:
        note = (
            "\n## In the box\n\nThis release comes with the project. Its matrices and kernels are "
            "stored in half precision: against the model that was measured above, images differ by "
            f"{facts['mean_levels']:g} of 255 levels in the mean, by {facts['most_levels']} at "
            "most.\n"
        )
        path = folder / MODEL_CARD
        path.write_text(path.read_text(encoding="utf-8") + note, encoding="utf-8")
    return card
