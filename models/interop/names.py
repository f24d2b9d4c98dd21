"""Translate a foreign state dict name by name, and say exactly what does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Rule:
    """Names that match `pattern` entirely become `name`, or are dropped if `name` is None.

    pattern: regular expression; name: replacement template (groups as \\1). A tensor is reshaped to
    our shape when only axes of length one differ ([1, C, 1, 1] and [C]).
    """

    pattern: str
    name: str | None


def below(theirs: str, ours: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the rules for the same tensors one module deeper."""
    return tuple(Rule(theirs + r.pattern, None if r.name is None else ours + r.name) for r in rules)


def rename(name: str, rules: Iterable[Rule]) -> str | None:
    """Return our name of a foreign tensor, or None if a rule drops it.

    Raises:
        KeyError: no rule matches.
    """
    for rule in rules:
        match = re.fullmatch(rule.pattern, name)
        if match:
            return None if rule.name is None else match.expand(rule.name)
    raise KeyError(name)


def translate(
    theirs: Mapping[str, Tensor], rules: Iterable[Rule], module: nn.Module, what: str
) -> dict[str, Tensor]:
    """Return a state dict that `module` loads strictly.

    Args:
        theirs: the authors' tensors by their names.
        rules: the first that matches a name counts.
        module: ours, of the right sizes.
        what: for the message, e.g. "StyleGAN-T synthesis".

    Raises:
        ValueError: names that are unknown, missing or of another shape or kind of number; all are
            listed.
    """
    rules, wanted = tuple(rules), module.state_dict()
    ours: dict[str, Tensor] = {}
    unknown: list[str] = []
    misshapen: dict[str, str] = {}  # our name -> what is wrong
    for name, tensor in theirs.items():
        try:
            own = rename(name, rules)
        except KeyError:
            unknown.append(name)
            continue
        if own is None:
            continue
        if own not in wanted:
            unknown.append(name)
        elif _without_ones(tensor) != _without_ones(wanted[own]):
            sizes = f"{list(tensor.shape)}, wanted {list(wanted[own].shape)}"
            misshapen[own] = f"{name} {sizes}"
        elif tensor.is_floating_point() != wanted[own].is_floating_point():
            misshapen[own] = f"{name} of {tensor.dtype}, wanted {wanted[own].dtype}"
        else:
            ours[own] = tensor.reshape(wanted[own].shape)
    faults = {
        "unknown": unknown,
        "missing (our names)": sorted(set(wanted) - set(ours) - set(misshapen)),
        "of another shape": list(misshapen.values()),
    }
    if any(faults.values()):
        listed = "; ".join(f"{k}: {', '.join(v)}" for k, v in faults.items() if v)
        raise ValueError(f"the checkpoint does not fit {what}: {listed}")
    return ours


def load_translated(
    module: nn.Module, theirs: Mapping[str, Tensor], rules: Iterable[Rule], what: str
) -> None:
    """Load the authors' tensors into `module`; errors as in `translate`."""
    module.load_state_dict(translate(theirs, rules, module, what), strict=True)


def _without_ones(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]
