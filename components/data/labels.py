"""Classes by name -> numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from components.data.names import shown
from components.errors import DataError

MOST_INDICES = 100_000  # a larger number is an article's or a year's, and no index of a class


@dataclass(frozen=True)
class Labels:
    """Class names -> numbers, in the order of their names; or indices that stand for themselves.

    names is empty where classes are indices.
    """

    names: list[str]
    count: int

    @classmethod
    def of(cls, labels: Iterable[str], kind: str = "name") -> Labels:
        """Number the classes that occur; none when no sample has a label.

        Args:
            labels: of all samples, "" for none.
            kind: "name", or "index" where they are whole numbers that stand for themselves.

        Raises:
            DataError: an index is no whole number, or larger than any set of classes.
        """
        found = in_order({label for label in labels if label})
        if kind != "index":
            return cls(found, len(found))
        wrong = [name for name in found if not is_index(name)]
        if wrong:
            what = f"class {shown(wrong[0])!r} is no index from 0 to {MOST_INDICES - 1:,}"
            raise DataError(what, "source.label_kind: index", "set source.label_kind: name")
        return cls([], 1 + max(map(int, found), default=-1))

    def number(self, label: str) -> int:
        """Return the class, -1 for none."""
        if not self.names:
            return int(label) if is_index(label) and int(label) < self.count else -1
        return self._numbers.get(label, -1)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}


def in_order(names: Iterable[str]) -> list[str]:
    """Sort the names of classes; where all are whole numbers, by their value."""
    found = sorted(names)
    return sorted(found, key=int) if all(map(is_index, found)) else found


def is_index(label: str) -> bool:
    """Tell whether a label is a whole number that can stand for itself."""
    return label.isascii() and label.isdecimal() and len(label) <= 12 and int(label) < MOST_INDICES
