"""The inert values that reading a pickle may give besides plain ones: names and records."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

SIMPLE = (str, int, float, bytes, bool, type(None))


class Refused(ValueError):
    """The file holds something that is not read; the message names it."""


@dataclass(frozen=True)
class Name:
    """A global that the pickle names: two words, never the thing itself."""

    text: str


@dataclass(eq=False)
class Record:
    """An object of a class that is never imported: what the pickle says about it.

    Attributes:
        kind: dotted name of the class.
        args: what its constructor would get.
        state: what `__setstate__` would get; its attributes, in most cases.
        items: of a dict's subclass.
        entries: of a list's subclass.
    """

    kind: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    entries: list[Any] = field(default_factory=list)


class Buildable:
    """A rebuilt value that the pickle completes afterwards (numpy's arrays)."""

    def complete(self, state: Any) -> None:
        """Take the state."""
        raise NotImplementedError


def as_key(value: Any) -> Any:
    """Return a dictionary's key.

    Deep ones, whose hash would exhaust the stack, do not pass. Nor do whole numbers from Python's
    hash modulus on: all multiples of it have one hash, and a table of them takes quadratic time.
    Words are safe, for their hash has a secret; of floats no more than some forty share a hash.
    """
    if type(value) not in (*SIMPLE, Name):
        raise Refused(f"a {kind_of(value)} as a key")
    if type(value) is int and abs(value) >= sys.hash_info.modulus:
        raise Refused("a huge number as a key")
    return value


def shown(value: Any) -> str:
    """Return how a plain value starts; of others, whose text may fill memory, what they are."""
    if type(value) is int and value.bit_length() > 64:
        return "a huge number"
    return (
        str(value[:24] if type(value) in (str, bytes) else value)
        if type(value) in SIMPLE
        else kind_of(value)
    )


def kind_of(value: Any) -> str:
    """Say what a value is without showing what is in it."""
    if type(value) is Record:
        return f"record of {value.kind}"
    return value.text if type(value) is Name else type(value).__name__
