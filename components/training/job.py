"""A training job as JSON: the paths and settings that a worker must know."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from components.data.at_hand import run_folder
from components.errors import ConfigError
from components.training.config import TrainConfig
from models.fields import Between
from models.untrusted.json_file import read_json


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

    kept_in: str = ""
    """Address of the run's folder in a store, where workers do not see this machine's: each has a
    run_dir of its own then, and inputs may be addresses too. '' = all is in run_dir."""

    fallback: bool = True
    """Whether an older state may stand in for a damaged one; else the run refuses to start."""

    def here(self) -> TrainingJob:
        """Return the job with the run folder of this machine, where the run is kept in a store."""
        if not self.kept_in:
            return self
        return replace(self, run_dir=str(run_folder(self.kept_in)))

    @classmethod
    def read(cls, path: Path) -> TrainingJob:
        """Return the job of a JSON file; ConfigError when it is none."""
        try:
            values = read_json(path)
            if not isinstance(values, dict):
                raise TypeError("no JSON object")
            job = cls(**values)
            for field in fields(cls):
                wanted = _KINDS[str(field.type)]
                if type(getattr(job, field.name)) is not wanted:
                    found = type(getattr(job, field.name)).__name__
                    raise TypeError(f"{field.name} is {found}, wanted {wanted.__name__}")
            return job
        except (OSError, ValueError, TypeError) as error:
            known = ", ".join(f.name for f in fields(cls))
            raise ConfigError(str(error), str(path), f"write a JSON object of {known}") from error

    def config(self) -> TrainConfig:
        """Return sizes and switches; ConfigError where a field is unknown, mistyped or out of
        range.
        """
        known = get_type_hints(TrainConfig, include_extras=True)
        wrong = [f"{name} is no field" for name in self.train if name not in known]
        wrong += [
            f"{name} is {value!r:.40}, wanted {_words(known[name])}"
            for name, value in self.train.items()
            if name in known and not _allows(known[name], value)
        ]
        try:
            config = TrainConfig(**self.train)
        except TypeError as error:
            wrong = wrong or [str(error).partition(" ")[2]]
        if wrong:
            raise ConfigError("; ".join(wrong[:10]), f"{self.stage}, train", "correct the job")
        return config


_KINDS = {"bool": bool, "str": str, "int": int, "dict[str, Any]": dict}


def _allows(kind: Any, value: Any) -> bool:
    """Return whether a field of this type takes a plain value; a whole number is a float, too."""
    if get_origin(kind) is Union:
        return any(_allows(arm, value) for arm in get_args(kind))
    plain, *marks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    if get_origin(plain) is Literal:
        return value in get_args(plain)
    if type(value) is not plain and (plain is not float or type(value) is not int):
        return False
    bounds = [mark for mark in marks if isinstance(mark, Between)]
    return all(bound.allows(value) for bound in bounds)


def _words(kind: Any) -> str:
    if get_origin(kind) is Union:
        return " or ".join(map(_words, get_args(kind)))
    plain, *marks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    if get_origin(plain) is Literal:
        names = ", ".join(get_args(plain))
        return f"one of {names}" if len(get_args(plain)) > 1 else names
    bounds = [f" in [{b.low}, {b.high}]" for b in marks if isinstance(b, Between)]
    return str(plain.__name__) + "".join(bounds)
