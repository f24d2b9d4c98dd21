"""A network from a foreign checkpoint: its tensors by name, and the plain facts beside them.

A snapshot holds whole module objects. What torch keeps in a module is the same everywhere
(`_parameters`, `_buffers`, `_modules`), so a record of one is enough to list its tensors by the
names its state dict would give them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from models.interop.pickle_values import SIMPLE, Record, Refused
from models.interop.stored_tensors import StoredTensor
from models.interop.wrappers import Unwrapped, unwrap

MODULES_LIMIT, DEPTH_LIMIT = 50_000, 40
SHARING_LIMIT = 4  # times the stored bytes; networks share next to nothing
INIT = "init"  # where a persistent class' constructor arguments stand among the facts


@dataclass(frozen=True)
class ForeignNetwork:
    """What is known of a network before its family is.

    Attributes:
        tensors: by their names in the authors' state dict.
        facts: numbers and words that its modules hold, by dotted name ("synthesis.w_dim"); a
            constructor's arguments stand under "init.". Empty for a plain state dict.
        note: which of several networks it is, in words; '' where there was one.
    """

    tensors: Mapping[str, StoredTensor | Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor; ValueError when it is missing."""
        if name not in self.tensors:
            raise ValueError(f"the checkpoint has no tensor {name}")
        return tuple(self.tensors[name].shape)

    def fact(self, *names: str) -> Any:
        """Return the first fact that is known under one of the names, else None."""
        return next((self.facts[name] for name in names if name in self.facts), None)

    def outline(self) -> dict[str, Tensor]:
        """Return tensors of the same names, shapes and types without memory."""
        return {n: torch.empty(x.shape, dtype=x.dtype, device="meta") for n, x in self._sorted()}

    def read(self) -> dict[str, Tensor]:
        """Return the tensors themselves.

        Raises:
            Refused: the bytes are missing, or shared so often that the tensors would fill memory.
        """
        stored = [x for x in self.tensors.values() if isinstance(x, StoredTensor)]
        held = {id(x.storage): x.storage.num_bytes for x in stored}
        if sum(x.num_bytes for x in stored) > SHARING_LIMIT * sum(held.values()):
            raise Refused("tensors that share the same bytes again and again")
        return {n: x.read() if isinstance(x, StoredTensor) else x for n, x in self._sorted()}

    def _sorted(self) -> list[tuple[str, StoredTensor | Tensor]]:
        return sorted(self.tensors.items())


def networks_in(value: Any, chosen: str = "") -> tuple[ForeignNetwork, ForeignNetwork | None]:
    """Return the averaged generator of a checkpoint, and its discriminator if it has one.

    Args:
        value: what `read_checkpoint` returned.
        chosen: name of the network to take where there are several; '' = decide by the names.

    Raises:
        Undecided: the names do not decide.
        ValueError: it holds no network.
    """
    found = unwrap(value, chosen)
    critic = None if found.critic is None else _network(unwrap(found.critic))
    return _network(found), critic


def _network(found: Unwrapped) -> ForeignNetwork:
    if isinstance(found.network, Record):
        return replace(_of_record(found.network), note=found.note)
    return ForeignNetwork(found.network, note=found.note)


def _of_record(record: Record) -> ForeignNetwork:
    """List the tensors and facts of a module and of all modules in it."""
    tensors: dict[str, StoredTensor | Tensor] = {}
    facts: dict[str, Any] = {}
    waiting, seen = [("", record, 0)], 0
    while waiting:
        prefix, module, depth = waiting.pop()
        seen += 1
        if seen > MODULES_LIMIT or depth > DEPTH_LIMIT:
            raise Refused("modules within modules without an end")
        state = module.state if type(module.state) is dict else {}
        skipped = state.get("_non_persistent_buffers_set")
        skipped = skipped if type(skipped) is set else set()
        for group in ("_parameters", "_buffers"):
            for name, tensor in _items(state.get(group)):
                if isinstance(tensor, StoredTensor) and name not in skipped:
                    tensors[f"{prefix}{name}"] = tensor
        for name, child in _items(state.get("_modules")):
            if type(child) is Record:
                waiting.append((f"{prefix}{name}.", child, depth + 1))
        own = [(name, x) for name, x in _items(state) if not name.startswith("_")]
        facts.update((f"{prefix}{name}", x) for name, x in own if type(x) in SIMPLE)
        if not prefix:
            _note(facts, f"{INIT}.", state.get("_init_kwargs"), depth=0)
    if not tensors:
        raise ValueError(f"the checkpoint holds a {record.kind} without tensors, no network")
    return ForeignNetwork(tensors, facts)


def _note(facts: dict[str, Any], prefix: str, arguments: Any, depth: int) -> None:
    """Add a constructor's arguments to the facts, dictionaries among them too."""
    for name, x in _items(arguments):
        if type(x) in SIMPLE:
            facts[f"{prefix}{name}"] = x
        elif depth < 2:
            _note(facts, f"{prefix}{name}.", x, depth + 1)


def _items(value: Any) -> list[tuple[str, Any]]:
    """Return the items of a dictionary, of whatever class, whose keys are words."""
    content = value.items if type(value) is Record else value
    if type(content) not in (dict, OrderedDict):
        return []
    return [(name, x) for name, x in content.items() if type(name) is str]
