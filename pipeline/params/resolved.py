"""The parameters of one stage as plain values, as its record and its run in MLflow hold them."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError

if TYPE_CHECKING:
    from components.training.config import StageConfig
    from pipeline.params.sections import Params


def resolved(params: Params, name: str) -> dict[str, Any]:
    """Return the parameters of one stage as plain values: the seed and its section."""
    section, _, key = re.sub(r" ", "@", name).partition("@")
    value = keyed_entry(params, section, key) if key else getattr(params, section, None)
    values: dict[str, Any] = {"seed": params.seed}
    if section in ("source", "score", "filter"):
        sources = [plain(one) for one in params.sources]
        values["source"] = sources if len(sources) > 1 else sources[0]
    if value is not None and section not in values:
        values[f"{section}@{key}" if key else section] = plain(value)
    return values


def plain(value: Any) -> Any:
    """Return a value as JSON would give it back; a dataclass as its fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return json.loads(json.dumps(value, default=str))


def keyed_entry(params: Params, section: str, key: str) -> StageConfig:
    """Return one entry of a section of entries; ConfigError when there is none of that name."""
    entries: dict[str, StageConfig] = getattr(params, section)
    if key not in entries:
        known = ", ".join(entries) or "none"
        raise ConfigError(f"got {key!r}", f"{section} <key>", f"params.yaml has: {known}")
    return entries[key]
