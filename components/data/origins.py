"""Several sources read as one: each row tells which it came from.

Where there are several, a row's key is NAME/KEY and its shard NAME:SHARD, so that no two rows of
different sources are ever taken for one. A source alone has no name, and its rows are as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.data.config import SourceConfig, name_of
from components.data.far_files import FarPath, Folder, is_far, place_of
from components.data.records import Record
from components.data.sources import ImageReader, Part, parts, read_part
from components.errors import DataError


@dataclass(frozen=True)
class Origin:
    """One source and where it is.

    Attributes:
        config: how it is read.
        folder: its folder, here or in a store.
        name: among several, as `name_of` gives it; "" for a source alone.
    """

    config: SourceConfig
    folder: Folder
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.folder}" if self.name else str(self.folder)

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, for another process: see `origin_of`."""
        folder = self.folder
        place = folder.uri if isinstance(folder, FarPath) else str(folder.resolve())
        return {"config": asdict(self.config), "folder": place, "name": self.name}


def origin_of(values: dict[str, Any]) -> Origin:
    """Return what `plain` was called on."""
    return Origin(SourceConfig(**values["config"]), place_of(values["folder"]), str(values["name"]))


def origins_of(sources: Sequence[SourceConfig], *, heldout: bool = False) -> tuple[Origin, ...]:
    """Return the sources with their places, named where there are several.

    Args:
        sources: as the parameters have them.
        heldout: the places of their held-out images instead, of those that have one.

    Raises:
        DataError: a path is a URI that nothing here reads.
    """
    several = len(sources) > 1
    places = [(one, one.heldout_path if heldout else one.path) for one in sources]
    return tuple(
        Origin(one, place_of(path), name_of(one) if several else "") for one, path in places if path
    )


def parts_of(origins: Sequence[Origin]) -> list[Part]:
    """List the parts of all sources, in their fixed order: by name, then as each source has them.

    Raises:
        DataError: as `sources.parts`.
    """
    return [
        replace(part, shard=_marked(origin, part.shard))
        for origin in sorted(origins, key=lambda origin: origin.name)
        for part in parts(origin.config, origin.folder)
    ]


def origin_at(origins: Sequence[Origin], shard: str) -> tuple[Origin, str]:
    """Return the source that a row's shard names, and the shard in it.

    Raises:
        DataError: none has this name.
    """
    if not origins[0].name:
        return origins[0], shard
    name, _, inside = shard.partition(":")
    for origin in origins:
        if origin.name == name:
            return origin, inside
    known = ", ".join(origin.name for origin in origins)
    raise DataError(f"a row of the source {name!r}; there are {known}", "scores", "score again")


def records_of(origins: Sequence[Origin], part: Part) -> Iterator[Record]:
    """Yield the records of a part that `parts_of` has listed."""
    origin, shard = origin_at(origins, part.shard)
    for record in read_part(origin.config, origin.folder, replace(part, shard=shard)):
        if origin.name:
            group = record.group and f"{origin.name}/{record.group}"
            key, shard = f"{origin.name}/{record.key}", _marked(origin, record.shard)
            record = replace(record, key=key, shard=shard, group=group)
        yield record


def names_of_rows(shards: pa.Array, origins: Sequence[Origin]) -> np.ndarray:
    """Return the number of the source of each row, by its shard, int32 [N]."""
    if not origins[0].name:
        return np.zeros(len(shards), dtype=np.int32)
    names = pc.replace_substring_regex(shards, pattern=":.*$", replacement="")
    found = pc.index_in(names, pa.array([origin.name for origin in origins]))
    return found.to_numpy(zero_copy_only=False).astype(np.int32)


class OriginImages:
    """Read image files again by what their rows say, of whichever source."""

    def __init__(self, origins: Sequence[Origin]) -> None:
        self._origins, self._stack = tuple(origins), ExitStack()
        self._readers: dict[str, ImageReader] = {}

    def read(self, shard: str, offset: int, num_bytes: int, sha256: str = "") -> bytes:
        """Return the bytes of one image.

        Args:
            shard, offset, num_bytes: as its row has them.
            sha256: of the bytes; what comes from a store is compared with it.

        Raises:
            DataError: the source is not what was scored.
        """
        origin, inside = origin_at(self._origins, shard)
        if origin.name not in self._readers:
            reader = self._stack.enter_context(ImageReader(origin.config, origin.folder))
            self._readers[origin.name] = reader
        found = self._readers[origin.name].read(inside, offset, num_bytes)
        if sha256 and is_far(origin.folder) and hashlib.sha256(found).hexdigest() != sha256:
            what = f"other bytes at {offset} than were scored"
            raise DataError(what, f"{origin} {inside}", "score again (raise score.revision)")
        return found

    def close(self) -> None:
        """Close the files that are open."""
        self._stack.close()

    def __enter__(self) -> OriginImages:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _marked(origin: Origin, shard: str) -> str:
    return f"{origin.name}:{shard}" if origin.name else shard
