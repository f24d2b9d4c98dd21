"""What a params file names and somebody has to bring: data, files of weights.

Looked for before anything trains, for a missing file would else be met after hours.
"""

from __future__ import annotations

from pathlib import Path

from components.errors import DataError
from components.pretraining.config import ROLES
from pipeline.params.sections import Params

GET_DATA = "put your data there or name where it is"
GET_WEIGHTS = "get the .safetensors file there or leave `file` empty to fetch it from the hub"


def missing_inputs(params: Params) -> dict[str, str]:
    """Return key -> path for each file or folder that is named and not there."""
    named: dict[str, str] = {}
    if params.synthesize.pairs == 0:
        named["source.path"] = params.source.path
        named["source.heldout_path"] = params.source.heldout_path
    for role in ROLES:
        config = getattr(params.encoders, role)
        if config.source == "pretrained":
            named[f"encoders.{role}.pretrained.file"] = config.pretrained.file
    named["evaluate.inception_file"] = params.evaluate.inception_file
    named["evaluate.clip_scorer.file"] = params.evaluate.clip_scorer.file
    return {key: path for key, path in named.items() if path and not Path(path).exists()}


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
