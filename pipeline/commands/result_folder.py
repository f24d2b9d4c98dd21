"""The check of --out in commands that make one artifact of several."""

from __future__ import annotations

from pathlib import Path

from components.errors import ConfigError


def check_result_folder(out: Path, made_of: tuple[Path, ...], *, force: bool) -> None:
    """Raise ConfigError where `out` is there and may not be replaced, or is one of its parts."""
    if out.exists() and (not force or not out.is_dir()):
        raise ConfigError(f"{out} exists", "--out", "name another folder, or add --force")
    if out.resolve() in {folder.resolve() for folder in made_of}:
        raise ConfigError(f"{out} is one of its parts", "--out", "name another folder")
