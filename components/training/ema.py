"""The averaged copy of the model (EMA): what is sampled, measured and published."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from typing import Any, cast

import torch
from torch import Tensor, nn

from components.training.distributed import World
from components.training.feed import BatchSource
from components.training.seeds import generator
from models.interfaces import WeightStatistic

STATISTICS_IMAGES = 512  # 256 and 2,048 gave the same distance within 1 % (docs/log.md)


def averaged_copy(model: nn.Module) -> nn.Module:
    """Return a copy of `model` in evaluation mode that no gradient reaches."""
    return copy.deepcopy(model).eval().requires_grad_(False)


@torch.no_grad()
def average(
    ema: nn.Module, model: nn.Module, beta: float, trained: Collection[nn.Parameter]
) -> None:
    """Set ema <- beta * ema + (1 - beta) * model for the parameters in `trained`; copy the buffers.

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
    copied = list(zip(ema.buffers(), model.buffers(), strict=True))
    if pairs:
        pasts, nows = (list(side) for side in zip(*pairs, strict=True))
        torch._foreach_lerp_(pasts, nows, 1.0 - beta)
    if copied:
        pasts, nows = (list(side) for side in zip(*copied, strict=True))
        torch._foreach_copy_(pasts, nows)


@torch.no_grad()
def settle_statistics(
    ema: Any, batches: BatchSource, *, size: int, seed: int, world: World, device: torch.device
) -> None:
    """Measure the averaged model's own statistics (mean and variance of a batch norm), where it has
    any: those of the trained network, which `average` copies, belong to other weights.

    Called by all ranks, each of which draws its share of `STATISTICS_IMAGES`, and right before the
    averaged model is used; the next `average` forgets the result, so that looking at a run does not
    change it.

    Args:
        ema: the averaged copy, changed in place.
        batches: whose conditions the images show, from the first one on.
        size: images in a forward pass, the training's own.
        seed: the run's; noise is the same at every call.
        world: the ranks.
        device: where `ema` is.
    """
    modules = [module for module in ema.modules() if hasattr(module, "settle")]
    if not modules:
        return
    for module in modules:
        module.train()
    for index in range(world.rank, math.ceil(STATISTICS_IMAGES / size), world.size):
        condition = batches.atom(index * size, size).condition.to(device)
        rng = generator(device, seed, "statistics", micro_batch=index)
        z_NZ = torch.randn(size, ema.z_dim, generator=rng, device=device)
        ema.synthesize(ema.map(z_NZ, condition), condition)
    for module in modules:
        cast(WeightStatistic, module).settle(world.all_reduce_sum)
        module.eval()
