"""Latent optimisation: Adam on a code or on styles until CLIP agrees (Patashnik et al. 2021, 4).

Legend: N samples, each searched for by itself (Adam treats every number apart), C channels, H W
pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the steps
SHAKE = 0.5  # of each number of a further start, in units of its size

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class OptimiseStep:
    """What was measured before a step.

    Attributes:
        learning_rate: of the step; 0 in the first.
        clip: of the image's distance to the text.
        distance: sum of squares between the code and the one it started from.
        loss: their weighted sum, with whatever else counts.
        start: which of several starts, from 0.
    """

    step: int
    learning_rate: float
    clip: float
    distance: float
    loss: float
    start: int = 0


def rate_at(step: int, steps: int, base: float) -> float:
    """Return the learning rate: a rise over 5 % of the steps, a cosine fall over the last 25 %.

    The first step has rate 0, as published.
    """
    done = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / RAMP_DOWN))
    return base * down * min(1.0, done / RAMP_UP)


def optimise(
    start: Parts,
    *,
    moves: set[str],
    draw: Callable[[Parts], Tensor],
    clip: Callable[[Tensor], Tensor],
    clip_weight: float = 1.0,
    extra: Callable[[Tensor], Tensor] | None = None,
    distance_weight: float = 0.008,
    steps: int = 300,
    learning_rate: float = 0.1,
    starts: int = 1,
    sizes: Parts | None = None,
    report: Callable[[OptimiseStep], object] = lambda step: None,
) -> Parts:
    """Return the code after all steps, by the names of `start`.

    Args:
        start: name -> part of a code (or layer -> style).
        moves: names of those that change.
        draw: parts -> image [N, 3, H, W].
        clip: image -> [N], how far it is from the text.
        clip_weight: of that.
        extra: image -> [N], further weighted terms (identity, direction).
        distance_weight: of the sum of squares over ALL parts, moved or not.
        steps: of Adam, betas 0.9 and 0.999; of each start.
        learning_rate: the highest.
        starts: searches; the first begins at the code, the others near it, and of each sample the
            one of least loss stays. A search can end where CLIP sees no way on. Published: 1.
        sizes: of the numbers that move, by name, where they are not those of `start`.
        report: is told of every step.
    """

    def measured(parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
        """Return [N] each: how far from the text, how far from the start, and the loss."""
        image = draw(parts)
        seen_N = clip(image)
        gaps = [(parts[n] - x).square().flatten(1).sum(dim=1) for n, x in start.items()]
        gap_N = torch.stack(gaps).sum(dim=0)
        loss_N = clip_weight * seen_N + distance_weight * gap_N
        return seen_N, gap_N, loss_N if extra is None else loss_N + extra(image)

    best = _descend(start, moves, measured, steps, learning_rate, 0, report)
    for number in range(1, starts):
        begin = _shaken(start, moves, sizes or start, number)
        found = _descend(begin, moves, measured, steps, learning_rate, number, report)
        with torch.no_grad():
            better_N = measured(found)[2] < measured(best)[2]
        best = {name: _chosen(better_N, found[name], x) for name, x in best.items()}
    return best


def _descend(
    begin: Parts,
    moves: set[str],
    measured: Callable[[Parts], tuple[Tensor, Tensor, Tensor]],
    steps: int,
    learning_rate: float,
    number: int,
    report: Callable[[OptimiseStep], object],
) -> Parts:
    """Return the parts after Adam's steps from `begin`."""
    parts = {name: x.detach().clone() for name, x in begin.items()}
    moved = [parts[name].requires_grad_() for name in parts if name in moves]
    optimizer = torch.optim.Adam(moved)
    for step in range(steps):
        seen, gap, loss = (x.sum() for x in measured(parts))
        rate = rate_at(step, steps, learning_rate)
        clip, distance, whole = (float(x.detach()) for x in (seen, gap, loss))
        report(OptimiseStep(step, rate, clip, distance, whole, start=number))
        # Not backward(): the generator's own gradients are none of this search's business.
        for part, grad in zip(moved, torch.autograd.grad(loss, moved), strict=True):
            part.grad = grad
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return {name: x.detach() for name, x in parts.items()}


def _shaken(start: Parts, moves: set[str], sizes: Parts, number: int) -> Parts:
    """Return a start near the first one, the same for every sample and every time."""
    rng, found = torch.Generator().manual_seed(number), {}
    for name, x in start.items():
        noise = torch.randn(x[:1].shape, generator=rng).to(x)
        found[name] = x + SHAKE * sizes[name] * noise if name in moves else x
    return found


def _chosen(mask_N: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return torch.where(mask_N.view(-1, *[1] * (first.ndim - 1)), first, second)
