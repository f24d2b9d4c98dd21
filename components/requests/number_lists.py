"""Read lists of numbers from a command line: `0-7,42` and `0,0.5,1`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.errors import ConfigError
from components.requests.images import (
    IMAGES_LIMIT,
    check_seed,
    check_seeds,
    check_truncation,
)

LAYERS_LIMIT = 10_000


def parse_seeds(text: str, name: str = "--seeds", *, unique: bool = True) -> tuple[int, ...]:
    """Return the seeds of `0-7,42`: numbers and ranges, both ends included, in the order given.

    Raises:
        ConfigError: it is no such list, a seed is out of range, or, if `unique`, listed twice.
    """
    seeds: list[int] = []
    for first, last in _ranges(text, name, "seeds, as 0-7,42"):
        check_seed(first)
        check_seed(last)
        _check_count(len(seeds) + last - first + 1, IMAGES_LIMIT, name)
        seeds += range(first, last + 1)
    if unique:
        check_seeds(seeds, name)
    return tuple(seeds)


def parse_layers(text: str, name: str = "--mix-layers") -> tuple[int, ...]:
    """Return the layers of `0-6` or `0-3,8`, sorted, each once; ConfigError when it is no list."""
    layers: set[int] = set()
    for first, last in _ranges(text, name, "layers, as 0-6"):
        _check_count(last - first + 1, LAYERS_LIMIT, name)
        layers.update(range(first, last + 1))
    return tuple(sorted(layers))


def parse_truncations(text: str, name: str = "--psis") -> tuple[float, ...]:
    """Return the numbers of `0,0.5,1`.

    Raises:
        ConfigError: one is no number or out of range, or is listed twice.
    """
    values = []
    for part in text.split(","):
        try:
            values.append(float(part))
        except ValueError:
            raise ConfigError(
                f"{part.strip()[:40]!r} is not a number", name, "give numbers, as 0,0.5,1"
            ) from None
        check_truncation(values[-1], name)
    if len(set(values)) < len(values):
        raise ConfigError(f"{text[:40]!r} lists a number twice", name, "list each once")
    return tuple(values)


def _ranges(text: str, name: str, wanted: str) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of every part of the list."""
    for part in text.split(","):
        if re.fullmatch(r"\s*-[0-9]{1,30}\s*", part):
            raise ConfigError(f"{part.strip()} is negative", name, f"give {wanted}")
        match = re.fullmatch(r"\s*([0-9]{1,30})(?:\s*-\s*([0-9]{1,30}))?\s*", part)
        if match is None:
            what = f"{part.strip()[:40]!r} is neither a whole number nor a range"
            raise ConfigError(what, name, f"give {wanted}")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise ConfigError(f"the range {first}-{last} is empty", name, "put the smaller first")
        yield first, last


def _check_count(count: int, limit: int, name: str) -> None:
    if count > limit:
        raise ConfigError(f"{count} numbers", name, f"give at most {limit}")
