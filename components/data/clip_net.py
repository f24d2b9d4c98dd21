"""Open the CLIP that looks at the data: it compares captions with images, and embeds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.artifacts.frozen_nets import is_absent
from components.errors import ConfigError, StorageError


def open_clip(folder: Path) -> Any:
    """Return the frozen net of the role clip.

    Args:
        folder: encoders/clip.

    Raises:
        ConfigError: the encoders were made without it.
        StorageError: its folder is missing a file or damaged.
    """
    from models.features import load_feature_net

    if is_absent(folder.parent, folder.name):
        todo = "set encoders.clip.source and run the encoders stage, or use data without captions"
        raise ConfigError("no CLIP to read captions with", str(folder), todo)
    try:
        return load_feature_net(folder)
    except ValueError as error:
        raise StorageError(str(error), str(folder), "run the encoders stage again") from error
