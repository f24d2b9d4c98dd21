"""Peel what people wrap a network's tensors in, and choose the averaged generator among several.

    {"generator_ema": {"_orig_mod.module.synthesis.b4.const": ...}, "generator": {...}, "step": 7}

Dictionaries are descended into and prefixes of names are cut, in any order, until names remain that
say nothing of this kind.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.interop.pickle_values import Record
from models.interop.stored_tensors import StoredTensor

AVERAGED: tuple[str, ...] = (
    "G_ema",
    "g_ema",
    "netG_ema",
    "gen_ema",
    "generator_ema",
    "ema_generator",
    "generator_smooth",
)
AVERAGED += ("ema", "ema_model", "model_ema", "params_ema", "ema_state_dict", "state_dict_ema")
AVERAGED += ("shadow_params",)
RAW = ("G", "g", "netG", "gen", "generator", "online_model")
CRITICS = ("D", "netD", "discriminator")
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "params")
BESIDE = ("latent_avg",)  # a network's tensors that some files keep beside it: the mean of w
COMPILED = "_orig_mod"  # torch.compile puts it anywhere in a name
# Counters that averaging and training keep beside the tensors.
COUNTERS = {"n_averaged", "num_updates", "initted", "step", "steps", "decay", "epoch", "iteration"}
LAYERS_LIMIT = 12


class Undecided(ValueError):
    """Something that the checkpoint does not tell, and the option that does."""


@dataclass(frozen=True)
class Unwrapped:
    """What was under the wrappers.

    Attributes:
        network: a module's record, or tensors by name.
        critic: the discriminator beside it, still wrapped; None if there is none.
        note: which of several generators was taken, in words; '' where there was one.
    """

    network: Record | dict[str, StoredTensor | Tensor]
    critic: Any
    note: str


def unwrap(value: Any, chosen: str = "") -> Unwrapped:
    """Return the averaged generator of a checkpoint, out of whatever it is wrapped in.

    Args:
        value: what `read_checkpoint` returned.
        chosen: the name to take where there are several; '' = decide by the names.

    Raises:
        Undecided: several networks, and their names do not say which one is wanted.
        ValueError: there is no network.
    """
    critic: Any = None
    notes: list[str] = []
    beside: dict[str, StoredTensor | Tensor] = {}
    for _ in range(LAYERS_LIMIT):
        if type(value) is Record and not value.items:
            return Unwrapped(value, critic, "; ".join(notes))
        content = _content(value)
        if content is None or not content:
            raise ValueError(f"the checkpoint is a {type(value).__name__}, no network")
        inside = {n: x for n, x in content.items() if type(n) is str and _is_network(x)}
        tensors = {n: x for n, x in content.items() if type(n) is str and _is_tensor(x)}
        # Tensors of a flat file may be those of several networks, told apart by the first word.
        own = set(tensors) - COUNTERS
        groups = inside or ({} if not own else _groups({n: tensors[n] for n in own}))
        name, note = _choose(groups, chosen, flat=not inside)
        critic = critic or next((groups[n] for n in CRITICS if n in groups), None)
        if not name:
            if not tensors:
                shown = ", ".join(str(name)[:40] for name in list(content)[:8])
                todo = "; --network NAME takes what stands under a name"
                raise ValueError(f"the checkpoint holds no network: found {shown}{todo}")
            whole = {_without_compiled(n): x for n, x in tensors.items() if n not in COUNTERS}
            return Unwrapped({**(whole or tensors), **beside}, critic, "; ".join(notes))
        beside |= {n: x for n, x in tensors.items() if n in BESIDE and inside}
        notes += [note] if note else []
        value, chosen = groups[name], "" if name == chosen else chosen
    raise ValueError("the checkpoint holds wrappers within wrappers without an end")


def _choose(groups: Mapping[str, Any], chosen: str, flat: bool) -> tuple[str, str]:
    """Return the name to go on with, '' to stay, and what to say about it."""
    if chosen in groups:
        return chosen, f"took {chosen}, as asked"
    averaged = [name for name in AVERAGED if name in groups]
    raw = [name for name in RAW if name in groups]
    if len(averaged) > 1:
        raise _doubt("averaged networks", averaged)
    if averaged:
        left = f"; left {', '.join(raw)}" if raw else ""
        return averaged[0], f"took {averaged[0]}, the averaged generator{left}"
    wrappers = [name for name in (COMPILED, *WRAPPERS) if name in groups]
    if len(raw) > 1 or (len(wrappers) > 1 and not flat):
        raise _doubt("networks", [*raw, *wrappers])
    if raw:
        return raw[0], f"no averaged generator is named: took {raw[0]} as it is"
    # A prefix is a wrapper only if all names have it; a module may just be called so.
    if wrappers and (not flat or len(groups) == 1):
        return wrappers[0], ""
    return "", ""


def _doubt(what: str, names: list[str]) -> Undecided:
    listed = ", ".join(names)
    return Undecided(f"it holds several {what}, {listed}: say --network NAME with one of them")


def _groups(tensors: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return first word of the names -> tensors by the rest of their names."""
    groups: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        groups.setdefault(first if dot else "", {})[rest if dot else name] = tensor
    return groups


def _without_compiled(name: str) -> str:
    return ".".join(word for word in name.split(".") if word != COMPILED)


def _content(value: Any) -> Mapping[Any, Any] | None:
    content = value.items if type(value) is Record else value
    return content if type(content) in (dict, OrderedDict) else None


def _is_tensor(value: Any) -> bool:
    return isinstance(value, StoredTensor | Tensor)


def _is_network(value: Any) -> bool:
    """Return whether a value may hold tensors by name: a module, or a dictionary of some."""
    if type(value) is Record and not value.items:
        return True
    content = _content(value)
    return content is not None and any(_is_tensor(x) or _content(x) for x in content.values())
