"""A training job as JSON: the paths and settings that a worker must know."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from components.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """All that a worker must know, as JSON. Paths are absolute and visible to every worker."""

    stage: str
    """Name of the stage, for messages (train_base, superres 64)."""
    seed: int
    """With it everything random is determined."""
    recipe: dict[str, Any]
    """`name` and fields; without a name: changes to the fields of the start artifact."""
    train: dict[str, Any]
    """Fields of TrainConfig."""
    run_dir: str
    """States, samples/, metrics.jsonl and the finished artifact/: one folder per fingerprint."""
    data_dir: str = ""
    """Filtered shards; '' for a recipe that needs no data."""
    encoders_dir: str = ""
    """One folder per frozen net."""
    start_dir: str = ""
    """Artifact to start from; '' = from nothing."""
    artifact_dir: str = ""
    """Where `python -m components.training` copies the finished artifact; run_job itself does not.
    """
    pictures_dir: str = ""
    """Where a recipe's folders of pictures lie; '' = the working folder."""
    fingerprint: str = ""
    """Hash of configuration and inputs; a state of another one is refused."""
    code_version: str = "unknown"
    """Kept in the state; a difference on resume is a warning."""
    owner: str = ""
    """Token of the driver; a lock with the same token is left by a dead worker of it: taken over.
    """

    @classmethod
    def read(cls, path: Path) -> TrainingJob:
        """Return the job of a JSON file; ConfigError when it is none."""
        try:
            values = json.loads(path.read_text())
            return cls(**values)
        except (OSError, ValueError, TypeError) as error:
            known = ", ".join(f.name for f in fields(cls))
            raise ConfigError(str(error), str(path), f"write a JSON object of {known}") from error
