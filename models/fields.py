"""Bounds and age of the fields of a configuration dataclass, without pydantic and without torch.

`learning_rate: Annotated[float, Between(0.0, 1.0)]` states the range beside the field. Where
pydantic is installed (the driver), it reads the bound through `__get_pydantic_core_schema__`; where
it is not (a bare training machine) the annotation is inert.

A field that comes later says which value acts as the code did before it, and is then no part of the
fingerprint of what was trained before: `Annotated[float, Between(0.0, None), AddedLater(0.0)]`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

# What a recipe's `diff_augment` may list (models/layers/augment.py).
Augmentation = Literal["color", "translation", "shift", "cutout"]


@dataclass(frozen=True)
class Between:
    """Allow numbers in [low, high]; None leaves that side open."""

    low: float | None = None
    high: float | None = None

    def allows(self, number: float) -> bool:
        """Return whether a number is finite and within the bounds."""
        above = self.low is None or number >= self.low
        return math.isfinite(number) and above and (self.high is None or number <= self.high)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Add the bounds to the number's schema (pydantic's annotation protocol)."""
        schema = dict(handler(source))
        if self.low is not None:
            schema["ge"] = self.low
        if self.high is not None:
            schema["le"] = self.high
        return schema


@dataclass(frozen=True)
class AddedLater:
    """Mark a field of a recipe or a section that trainings before it do not know.

    before: value with which the code does to the bit what it did before the field came. It is told
    apart from the default, for a default may change: what was trained before is then still named by
    this value, and what follows the new default gets a fingerprint of its own.
    """

    before: Any


def without_later(config: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration dataclass as a fingerprint takes them.

    Fields that were added later are left out while they act as before; all others stay, those that
    the dataclass does not know too. Tuples and lists are the same here.

    Args:
        config: the dataclass.
        values: field -> plain value.
    """
    hints = get_type_hints(config, include_extras=True)
    kept = {}
    for name, value in values.items():
        marks = [extra for extra in get_args(hints.get(name)) if isinstance(extra, AddedLater)]
        if not any(_plain(mark.before) == _plain(value) for mark in marks):
            kept[name] = value
    return kept


def _plain(value: Any) -> Any:
    """Return a value as a JSON file gives it back: tuples and lists are the same there."""
    return json.loads(json.dumps(value))
