"""The config.json that some publishers put beside their tensors: what no shape tells."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

NAME = "config.json"
BYTES_LIMIT, DEPTH_LIMIT, KEYS_LIMIT = 2**20, 6, 1000
NUMBER_LIMIT = 2**20


def config_beside(checkpoint: Path) -> Path | None:
    """Return the config.json in the folder of a checkpoint, None where there is none."""
    path = checkpoint.parent / NAME
    return path if path.is_file() else None


def read_config(path: Path) -> dict[str, Any]:
    """Return the object that a file of JSON holds.

    Raises:
        ValueError: it is too long, no JSON, no object, or holds a number of no use as a size.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_LIMIT + 1)
    except OSError as error:
        raise ValueError(f"{path.name} is not readable ({error.strerror})") from error
    if len(data) > BYTES_LIMIT:
        raise ValueError(f"{path.name} is longer than {BYTES_LIMIT:,} bytes")
    try:
        config = json.loads(data, parse_int=_number, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError) as error:
        text = " ".join(str(error).split())[:80]
        raise ValueError(f"{path.name} is no JSON ({text})") from error
    if type(config) is not dict or len(config) > KEYS_LIMIT:
        raise ValueError(f"{path.name} holds no object of settings")
    return config


def _number(text: str) -> int | float:
    """Return a number that can be a size or a factor; a longer one is refused unread."""
    if len(text) > 32:
        raise ValueError(f"a number of {len(text)} digits")
    value: int | float = int(text) if text.lstrip("-").isdigit() else float(text)
    if not math.isfinite(value) or abs(value) > NUMBER_LIMIT:
        raise ValueError(f"the number {text[:20]}")
    return value


class Settings:
    """A config.json's settings, each of which is read by the type that it must have.

    Args:
        config: what `read_config` returned, or a part of it.
        where: its name for errors.

    Attributes:
        unread: the names that nobody has asked for yet.
    """

    def __init__(self, config: dict[str, Any], where: str = NAME) -> None:
        self.config, self.where, self.unread = config, where, set(config)

    def whole(self, name: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number; ValueError where it is missing without a default, or none."""
        value = self._get(name, default)
        if type(value) is not int or value < least:
            raise self._wrong(name, value, f"a whole number from {least}")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a number from 0; ValueError where it is none."""
        value = self._get(name, default)
        if type(value) not in (int, float) or value < 0:
            raise self._wrong(name, value, "a number from 0")
        return float(value)

    def wholes(self, name: str, default: list[int]) -> tuple[int, ...]:
        """Return a list of whole numbers from 0; ValueError where it is none."""
        value = self._get(name, default)
        if type(value) is not list or not all(type(x) is int and x >= 0 for x in value):
            raise self._wrong(name, value, "a list of whole numbers")
        return tuple(value)

    def switches(self, name: str, default: list[bool]) -> tuple[bool, ...]:
        """Return a list of true and false; ValueError where it is none."""
        value = self._get(name, default)
        if type(value) is not list or not all(type(x) is bool for x in value):
            raise self._wrong(name, value, "a list of true and false")
        return tuple(value)

    def constant(self, name: str, published: Any) -> None:
        """Raise ValueError where a setting is another than the published one, which is ours."""
        value = self._get(name, published)
        if type(value) is not type(published) or value != published:
            raise self._wrong(name, value, f"the published {json.dumps(published)}")

    def part(self, name: str) -> Settings:
        """Return the object under a name, an empty one where there is none."""
        value = self._get(name, {})
        if type(value) is not dict:
            raise self._wrong(name, value, "an object")
        return Settings(value, f"{self.where}, {name}")

    def _get(self, name: str, default: Any) -> Any:
        self.unread.discard(name)
        return self.config.get(name, default)

    def _wrong(self, name: str, value: Any, wanted: str) -> ValueError:
        shown = "nothing" if value is None else json.dumps(value)[:40]
        return ValueError(f"{self.where}: {name} is {shown}, wanted {wanted}")
