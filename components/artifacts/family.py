"""Build a recipe from its name and fields, and turn a recipe back into them.

A params file or a card holds the name and the fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError

if TYPE_CHECKING:
    from models.interfaces import Recipe


def recipe_from(fields: Mapping[str, Any]) -> Recipe:
    """Return the recipe that {"name": ..., field: value, ...} describes.

    Raises:
        ConfigError: the name or a field is not known, or the recipe refuses a value.
    """
    from models.families import recipes, why_unknown

    values = dict(fields)
    name = values.pop("name", None)
    known_families = recipes()
    if name not in known_families:
        if reason := why_unknown(str(name)):
            todo = "mend or uninstall that package"
            raise ConfigError(f"family {str(name)[:60]}: {reason}", "recipe.name", todo)
        listed = ", ".join(sorted(known_families))
        raise ConfigError(f"family {str(name)[:60]!r}", "recipe.name", f"use one of {listed}")
    cls: Any = known_families[name]
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(values.keys() - known):
        raise ConfigError(
            f"family {name} has no field {', '.join(unknown)}",
            "recipe",
            f"known fields: {', '.join(sorted(known))}",
        )
    try:
        return cls(**{k: _frozen(v) for k, v in values.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), f"recipe {name}", "correct the field") from error


def recipe_fields(recipe: Recipe) -> dict[str, Any]:
    """Return {"name": ..., field: value, ...}, the form that params.yaml and job files hold."""
    return {"name": recipe.name, **dataclasses.asdict(recipe)}  # type: ignore[call-overload]


def _frozen(value: Any) -> Any:
    """Turn JSON's lists into the tuples that a frozen dataclass holds."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
