"""What a params file names and somebody has to bring: data, files of weights.

Looked for before anything trains, for a missing file would else be met after hours.
"""

from __future__ import annotations

from pathlib import Path

from components.data.far_files import place_of
from components.errors import DataError
from components.pretraining.config import ROLES
from pipeline.params.sections import Params

GET_DATA = "put your data there or name where it is"
GET_WEIGHTS = "get the .safetensors file there or leave `file` empty to fetch it from the hub"


def missing_inputs(params: Params) -> dict[str, str]:
    """Return key -> path for each file or folder that is named and not there."""
    named: dict[str, str] = {}
    if params.synthesize.pairs == 0:
        for number, source in enumerate(params.sources):
            here = f"source.{number}" if len(params.sources) > 1 else "source"
            named[f"{here}.path"] = source.path
            named[f"{here}.heldout_path"] = source.heldout_path
    for role in ROLES:
        config = getattr(params.encoders, role)
        if config.source == "pretrained":
            named[f"encoders.{role}.pretrained.file"] = config.pretrained.file
            named[f"encoders.{role}.pretrained.heads"] = config.pretrained.heads
    named["evaluate.inception_file"] = params.evaluate.inception_file
    named["evaluate.clip_scorer.file"] = params.evaluate.clip_scorer.file
    return {key: path for key, path in named.items() if path and not _is_there(path)}


def _is_there(path: str) -> bool:
    """Tell whether there is such a file or folder; a store is asked by the stage that reads it."""
    place = place_of(path)
    return not isinstance(place, Path) or place.exists()


def require_inputs(params: Params, where: str) -> None:
    """Raise DataError that names everything that is missing, and what to do.

    Args:
        params: what was read.
        where: the params file, for the message.
    """
    missing = missing_inputs(params)
    if missing:
        listed = ", ".join(f"{key} {path}" for key, path in missing.items())
        pictures = [key for key in missing if key.startswith("source.")]
        todo = [GET_DATA] * bool(pictures) + [GET_WEIGHTS] * (len(missing) > len(pictures))
        raise DataError(f"not there: {listed}", where, "; ".join(todo))
