"""The averaged copy of the model (EMA): what is sampled, measured and published."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn


def averaged_copy(model: nn.Module) -> nn.Module:
    """Return a copy of `model` in evaluation mode that no gradient reaches."""
    return copy.deepcopy(model).eval().requires_grad_(False)


@torch.no_grad()
def average(
    ema: nn.Module, model: nn.Module, beta: float, trained: Collection[nn.Parameter]
) -> None:
    """Set ema <- beta * ema + (1 - beta) * model for the parameters in `trained`; copy the buffers.

    Statistics that belong to the weights move with them: a module names such buffers in its
    `averaged_buffers` (running mean and variance of a batch norm), and they are averaged too.

    Args:
        ema: the averaged copy, changed in place.
        model: the network that trains.
        beta: weight of the past in [0, 1].
        trained: parameters that an optimizer has ever stepped; the others are equal in both for
            good.
    """
    moving = set(map(id, trained))
    pairs: list[tuple[Tensor, Tensor]] = [
        (past, now)
        for past, now in zip(ema.parameters(), model.parameters(), strict=True)
        if id(now) in moving
    ]
    averaged = {
        id(module.get_buffer(name))
        for module in model.modules()
        for name in getattr(module, "averaged_buffers", ())
    }
    buffers = list(zip(ema.buffers(), model.buffers(), strict=True))
    pairs += [pair for pair in buffers if id(pair[1]) in averaged]
    copied = [pair for pair in buffers if id(pair[1]) not in averaged]
    if pairs:
        pasts, nows = (list(side) for side in zip(*pairs, strict=True))
        torch._foreach_lerp_(pasts, nows, 1.0 - beta)
    if copied:
        pasts, nows = (list(side) for side in zip(*copied, strict=True))
        torch._foreach_copy_(pasts, nows)
