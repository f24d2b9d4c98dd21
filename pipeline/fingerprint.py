"""The fingerprint of a training: a hash of configuration and inputs, not of paths or hardware.

A training is a function of these alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import DataError
from components.training.config import LOOKING, MEASURING

# Fields of TrainConfig that change what is written on the way, not what is trained.
_WATCHING = {"report_every_kimg", "sample_every_kimg", "save_every_kimg", "keep_states"}
# Fields of StageConfig that stand in the fingerprint in another form.
_APART = {"revision", "recipe", "start"}


def digest(content: Any) -> str:
    """Return the sha256, in hex, of JSON-ready content; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def training_fingerprint(
    *,
    seed: int,
    stage: Mapping[str, Any],
    recipe: Mapping[str, Any],
    data_hash: str,
    encoder_hashes: Mapping[str, str],
    start_hash: str,
) -> str:
    """Return the fingerprint of a training.

    Args:
        seed: the run's seed.
        stage: StageConfig as a dict, `without_later`; its `recipe` is replaced by the resolved one,
            its `start` (a name) by the start's hash.
        recipe: the fields as resolved from parameters, guidance and start artifact, `without_later`
            (models/fields.py): a field that came after a training changes nothing about it.
        data_hash: content hash of the training set.
        encoder_hashes: role -> sha256 of the frozen nets that the recipe uses, and of the one that
            decides which weights are kept.
        start_hash: sha256 of the generator to start from, '' without one.
    """
    apart = _WATCHING | _APART
    if stage.get("keep_weights") != "best":  # then measuring is watching, too
        apart |= set(MEASURING)
    if stage.get("collapse", "warn") in ("off", "warn"):
        apart |= set(LOOKING)
    train = {key: value for key, value in stage.items() if key not in apart}
    content = {
        "seed": seed,
        "revision": stage["revision"],
        "train": train,
        "recipe": dict(recipe),
        "data": data_hash,
        "encoders": dict(encoder_hashes),
        "start": start_hash,
    }
    return digest(json.loads(json.dumps(content)))  # Tuples and lists are the same here.


def data_content_hash(folder: Path) -> str:
    """Return the content hash of a training set.

    Raises:
        DataError: the folder has no readable manifest.
    """
    path = folder / "manifest.json"
    try:
        return str(json.loads(path.read_text())["content_hash"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"no training set: {error!r}", str(path), "run the filter stage") from error
