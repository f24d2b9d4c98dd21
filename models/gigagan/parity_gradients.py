"""Fill a module from a parity file, and collect the gradients that the file holds.

Gradients are of the sum over the outputs k of <out/k, in/cotangent_k>.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.gigagan import names
from models.interop.names import Rule, load_translated, rename
from models.interop.parity_file import ParityFile

COTANGENT = "cotangent_"


def fill(module: nn.Module, file: ParityFile, rules: tuple[Rule, ...]) -> None:
    """Load the file's weights; a bias that the file has not is zero."""
    names.check_twins(file.param)
    theirs = names.split_qkv(file.param, names.heads_of(module))
    named = {rename(name, rules) for name in theirs}
    for name, value in module.state_dict().items():
        if name.endswith("bias") and name not in named and f"own:{name}" not in theirs:
            theirs[f"own:{name}"] = torch.zeros_like(value)
    own = (*rules, Rule(r"own:(.*)", r"\1"))
    load_translated(module, names.joined_banks(theirs), own, file.stem)


def variables(file: ParityFile, *frozen: str) -> dict[str, Tensor]:
    """Return the inputs, ready for gradients, without cotangents."""
    return {
        name: x.clone().requires_grad_(x.is_floating_point() and name not in frozen)
        for name, x in file.input.items()
        if not name.startswith(COTANGENT)
    }


def with_gradients(
    file: ParityFile,
    module: nn.Module,
    rules: tuple[Rule, ...],
    inputs: Mapping[str, Tensor],
    outputs: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Return the outputs and every gradient that the file holds."""
    module.zero_grad()
    total = sum(
        (outputs[name.removeprefix(COTANGENT)] * cotangent).sum()
        for name, cotangent in file.input.items()
        if name.startswith(COTANGENT)
    )
    assert isinstance(total, Tensor)
    total.backward()
    found: dict[str, Tensor] = dict(outputs)
    for name, expected in file.output.items():
        if not name.startswith("grad_"):
            continue
        theirs = name.removeprefix("grad_")
        if theirs in inputs:
            gradient = inputs[theirs].grad
        elif match := names.QKV.fullmatch(theirs):
            own = [rename(f"{match[1]}to_{part}.weight", rules) or "" for part in ("qk", "v")]
            heads = (names.heads_of(module), -1)
            by_head = [_grad(module.get_parameter(x)).unflatten(0, heads) for x in own]
            gradient = torch.cat(by_head, dim=1).flatten(0, 1)
        else:
            gradient = module.get_parameter(rename(theirs, rules) or "").grad
        assert gradient is not None, name
        found[name] = gradient.reshape(expected.shape)
    return found


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
