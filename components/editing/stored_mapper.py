"""Files of latent mappers: the weights, what they change, and the generator that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from components.editing.tensor_file import read_tensors, write_tensors
from components.errors import ConfigError, StorageError
from models.editing.mapper import LatentMapper, Norm, StyleMapper, by_place

_RECORD = "ganline_mapper"


@dataclass(frozen=True, kw_only=True)
class StoredMapper:
    """A mapper and the model it belongs to.

    Attributes:
        mapper: from codes to changes of codes, or from styles to changes of styles.
        text: what it makes of an image.
        generator_sha256: of the weights that it was trained for; "" where a file does not say.
        facts: how it was trained; strings and numbers.
    """

    mapper: LatentMapper | StyleMapper
    text: str
    generator_sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> str:
        """What it changes, in words."""
        mapper = self.mapper
        if isinstance(mapper, StyleMapper):
            channels = sum(mapper.widths.values())
            return f"a mapper of {len(mapper.widths)} styles, {channels:,} channels"
        groups = ", ".join(f"{name} {a}-{b - 1}" for name, (a, b) in mapper.entries.items())
        return (
            f"a mapper of codes {mapper.width} wide, rows {groups}, normalised over {mapper.norm}"
        )


def write_mapper(path: Path, stored: StoredMapper) -> None:
    """Write a mapper's file; the same mapper gives the same bytes."""
    mapper = stored.mapper
    shape: dict[str, Any]
    if isinstance(mapper, StyleMapper):
        shape = {"styles": [[name, width] for name, width in mapper.widths.items()]}
    else:
        groups = [[name, *cut] for name, cut in mapper.entries.items()]
        shape = {"width": mapper.width, "groups": groups, "norm": mapper.norm}
    record = {
        **shape,
        "text": stored.text,
        "generator_sha256": stored.generator_sha256,
        "facts": dict(stored.facts),
    }
    write_tensors(path, mapper.state_dict(), _RECORD, record)


def read_mapper(path: Path) -> StoredMapper:
    """Return the mapper of a file; StorageError when it is none."""
    tensors, record = read_tensors(path, _RECORD)
    try:
        mapper = _empty(record)
        mapper.load_state_dict(tensors)
        return StoredMapper(
            mapper=mapper.eval().requires_grad_(False),
            text=str(record["text"]),
            generator_sha256=str(record["generator_sha256"]),
            facts=dict(record["facts"]),
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        what = f"a mapper's file that does not fit itself: {' '.join(str(error).split())[:160]}"
        raise StorageError(what, str(path), "train or import it again") from error


def _empty(record: Mapping[str, Any]) -> LatentMapper | StyleMapper:
    if "styles" in record:
        return StyleMapper({str(name): int(width) for name, width in record["styles"]})
    groups = {str(name): (int(a), int(b)) for name, a, b in record["groups"]}
    return LatentMapper(int(record["width"]), groups, cast("Norm", record["norm"]))


def check_mapper(stored: StoredMapper, generator: Any, hashes: Sequence[str]) -> None:
    """Raise ConfigError unless a mapper is for these weights, and as wide as their codes, or their
    styles.
    """
    known = stored.generator_sha256
    if known and known not in hashes:
        raise ConfigError(
            f"the mapper is for weights {known[:12]}, the model has {hashes[0][:12]}",
            "--mapper",
            "give the model that the mapper was trained for",
        )
    if isinstance(stored.mapper, StyleMapper):
        _check_styles(stored.mapper, generator)
        return
    last = max(stop for _, stop in stored.mapper.entries.values())
    if stored.mapper.width != generator.w_dim or last > generator.num_ws:
        raise ConfigError(
            f"the mapper changes {last} codes of width {stored.mapper.width}, the model has "
            f"{generator.num_ws} of {generator.w_dim}",
            "--mapper",
            "give a mapper of this model",
        )


def _check_styles(mapper: StyleMapper, generator: Any) -> None:
    found: dict[str, int] = {}
    if hasattr(generator, "style_layers"):
        try:
            found = by_place(layer.channels for layer in generator.style_layers())
        except ValueError:  # a family without styles has none of them
            found = {}
    if unlike := [name for name, width in mapper.widths.items() if found.get(name) != width]:
        name = unlike[0]
        raise ConfigError(
            f"the mapper's style {name} has {mapper.widths[name]} channels, the model's has "
            f"{found.get(name, 'none')}",
            "--mapper",
            "give a model of the layout that the mapper was trained for",
        )
