"""Read a pickle without running it.

A pickle is a program for a small stack machine, and Python's own machine imports and calls whatever
the program names. This one imports nothing and calls nothing but the few rebuilding functions that
its world lists (models/interop/pickle_world.py). Every other listed class becomes an inert
`Record`; a name outside the lists ends the reading. Python's `pickletools` splits the bytes into
operations; their meaning is here.
"""

from __future__ import annotations

import pickletools
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from models.interop.pickle_values import Buildable, Name, Record, Refused, as_key, kind_of

OPERATIONS_LIMIT = 5_000_000  # a snapshot of the largest network has a tenth of it
NAME_LIMIT = 512  # characters of a dotted name
MEMO_LIMIT = 2**32  # numbers in the memo; larger ones could share one hash
# What costs as much as one operation: members of a container, or bytes, that a call may copy.
MEMBERS_EACH, BYTES_EACH = 4, 4_096


@dataclass
class Budget:
    """Operations left to spend, over all pickles of a file.

    A value can be handed to a call again and again for a few bytes each time, so a call costs by
    the size of what it gets.
    """

    operations: int = OPERATIONS_LIMIT

    def spend(self, count: int = 1) -> None:
        """Take from what is left; Refused when there is too little."""
        self.operations -= count
        if self.operations < 0:
            raise Refused(f"more than {OPERATIONS_LIMIT:,} operations")

    def spend_on(self, values: Iterable[Any]) -> None:
        """Take what copying the values may cost."""
        for value in values:
            if type(value) in (str, bytes, bytearray):
                self.spend(len(value) // BYTES_EACH)
            elif type(value) in (list, tuple, dict, OrderedDict, set, frozenset):
                self.spend(len(value) // MEMBERS_EACH)


@dataclass(frozen=True)
class World:
    """What a pickle may name.

    Attributes:
        calls: dotted name -> our own function that rebuilds the value.
        tokens: dotted names that are only handed on as arguments.
        is_record: whether objects of a class are kept as records.
        is_inert: whether the user let the name through: what its records would return when they are
            called (dill's loaders return types and functions) is a record too.
        persistent: what a persistent id stands for; None = there are none.
        budget: shared by all pickles of a file.
    """

    calls: Mapping[str, Callable[..., Any]]
    tokens: frozenset[str]
    is_record: Callable[[str], bool]
    is_inert: Callable[[str], bool] = lambda text: False
    persistent: Callable[[Any], Any] | None = None
    budget: Budget = field(default_factory=Budget)


_PUSHED = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
}
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_IGNORED = {"PROTO", "FRAME"}
_BROKEN = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, struct.error)
_NEVER = {
    "EXT1": "an extension code",
    "EXT2": "an extension code",
    "EXT4": "an extension code",
    "OBJ": "an instance made by the operation OBJ",
    "NEXT_BUFFER": "a buffer outside the file",
    "READONLY_BUFFER": "a buffer outside the file",
}


def read_pickle(stream: IO[bytes], world: World) -> Any:
    """Return the value of the pickle at the stream's position; stop behind its end.

    Raises:
        Refused: a name that is not listed, an operation that is never carried out, or no pickle.
    """
    return _Machine(world).run(stream)


class _Machine:
    """One pickle's stack, marks and memo."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "MARK": lambda _: self._marks.append(len(self._stack)),
            "POP": lambda _: self._discard(),
            "POP_MARK": lambda _: self._forget(self._since_mark()),
            "DUP": lambda _: self._push(self._top()),
            "TUPLE": lambda _: self._push(tuple(self._since_mark())),
            "LIST": lambda _: self._push(self._since_mark()),
            "DICT": lambda _: self._push(_pairs(self._since_mark())),
            "FROZENSET": lambda _: self._push(frozenset(map(as_key, self._since_mark()))),
            "APPEND": lambda _: self._extend([self._pop()]),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "ADDITEMS": lambda _: self._add(self._since_mark()),
            "SETITEM": lambda _: self._set(self._pop_many(2)),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "GLOBAL": lambda words: self._name(*words.split(" ", 1)),
            "INST": self._inst,
            "STACK_GLOBAL": lambda _: self._name(*self._pop_many(2)),
            "REDUCE": lambda _: self._push(self._call(*self._pop_many(2))),
            "NEWOBJ": lambda _: self._push(self._call(*self._pop_many(2))),
            "NEWOBJ_EX": lambda _: self._push(self._call(*self._pop_many(3))),
            "BUILD": lambda _: self._build(self._pop()),
            "PERSID": self._persistent,
            "BINPERSID": lambda _: self._persistent(self._pop()),
        }

    def run(self, stream: IO[bytes]) -> Any:
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                self._world.budget.spend()
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, argument)
        except Refused:
            raise
        except _BROKEN as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise Refused(f"bytes that are no whole pickle ({words})") from error
        raise Refused("a pickle without an end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _PUSHED:
            self._push(argument)
        elif name in _FRESH:
            self._push(_FRESH[name]())
        elif name in _TUPLES:
            self._push(tuple(self._pop_many(_TUPLES[name])))
        elif name in _PUTS:
            place = len(self._memo) if argument is None else argument
            if not 0 <= place < MEMO_LIMIT:
                raise Refused("a huge number in the memo")
            self._memo[place] = self._top()
        elif name in _GETS:
            self._push(self._memo[argument])
        elif name in _NEVER:
            code = "" if argument is None else f" {argument}"
            raise Refused(f"{_NEVER[name]}{code}")
        elif name not in _IGNORED:
            self._steps[name](argument)

    # --- The stack.

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _top(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise IndexError("the stack is empty")
        return self._stack[-1]

    def _pop(self) -> Any:
        self._top()
        return self._stack.pop()

    def _pop_many(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _discard(self) -> None:
        """Pop a value, or the mark when it is on top."""
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _forget(self, values: list[Any]) -> None:
        values.clear()

    # --- Containers.

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is list:
            target.extend(values)
        elif type(target) is Record:
            target.entries.extend(values)
        else:
            raise Refused(f"entries appended to a {kind_of(target)}")

    def _add(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is not set:
            raise Refused(f"members added to a {kind_of(target)}")
        target.update(map(as_key, values))

    def _set(self, values: list[Any]) -> None:
        target = self._top()
        if type(target) is Record:
            target.items.update(_pairs(values))
        elif type(target) in (dict, OrderedDict):
            target.update(_pairs(values))
        else:
            raise Refused(f"items set in a {kind_of(target)}")

    # --- Names and what is made of them.

    def _name(self, module: Any, name: Any) -> None:
        """Let a listed name pass as two words; nothing is looked up."""
        if type(module) is not str or type(name) is not str:
            raise Refused("a name that is not text")
        if len(module) + len(name) > NAME_LIMIT:
            raise Refused(f"a name of {len(module) + len(name):,} characters")
        text, world = f"{module}.{name}", self._world
        if text not in world.calls and text not in world.tokens and not world.is_record(text):
            raise Refused(" ".join(text.split())[:120])
        self._push(Name(text))

    def _inst(self, words: str) -> None:
        raise Refused(".".join(words.split())[:120])

    def _call(self, function: Any, args: Any, keywords: Any = None) -> Any:
        """Rebuild a value by our own function, or keep a record; nothing else is ever called."""
        if type(args) is not tuple:
            raise Refused(f"a call of {kind_of(function)} with arguments that are no tuple")
        if type(function) is Record and self._world.is_inert(function.kind):
            return Record(function.kind, args)
        if type(function) is not Name:
            raise Refused(f"a call of a {kind_of(function)}")
        if function.text in self._world.calls and not keywords:
            self._world.budget.spend_on(args)
            return self._world.calls[function.text](*args)
        if function.text in self._world.calls or function.text in self._world.tokens:
            raise Refused(f"a call of {function.text}")
        return Record(function.text, args)

    def _build(self, state: Any) -> None:
        target = self._top()
        if type(target) is Record:
            target.state = state
        elif isinstance(target, Buildable):
            if type(state) is tuple:
                self._world.budget.spend_on(state)
            target.complete(state)
        elif type(target) is not OrderedDict:  # a state dict's `_metadata`: not needed
            raise Refused(f"attributes set on a {kind_of(target)}")

    def _persistent(self, key: Any) -> None:
        if self._world.persistent is None:
            raise Refused("a persistent id, which only torch's own files have")
        self._push(self._world.persistent(key))


def _pairs(values: list[Any]) -> dict[Any, Any]:
    """Return {key: value} of key, value, key, value, ..."""
    if len(values) % 2:
        raise Refused("a key without a value")
    return {as_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}
