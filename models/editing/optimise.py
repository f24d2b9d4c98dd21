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


@dataclass(frozen=True)
class OptimiseStep:
    """What was measured before a step.

    Attributes:
        learning_rate: of the step; 0 in the first.
        clip: of the image's distance to the text.
        distance: sum of squares between the code and the one it started from.
        loss: their weighted sum, with whatever else counts.
    """

    step: int
    learning_rate: float
    clip: float
    distance: float
    loss: float


def rate_at(step: int, steps: int, base: float) -> float:
    """Return the learning rate: a rise over 5 % of the steps, a cosine fall over the last 25 %.

    The first step has rate 0, as published.
    """
    done = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / RAMP_DOWN))
    return base * down * min(1.0, done / RAMP_UP)


def optimise(
    start: dict[str, Tensor],
    *,
    moves: set[str],
    draw: Callable[[dict[str, Tensor]], Tensor],
    clip: Callable[[Tensor], Tensor],
    clip_weight: float = 1.0,
    extra: Callable[[Tensor], Tensor] | None = None,
    distance_weight: float = 0.008,
    steps: int = 300,
    learning_rate: float = 0.1,
    report: Callable[[OptimiseStep], object] = lambda step: None,
) -> dict[str, Tensor]:
    """Return the code after all steps, by the names of `start`.

    Args:
        start: name -> part of a code (or layer -> style).
        moves: names of those that change.
        draw: parts -> image [N, 3, H, W].
        clip: image -> [N], how far it is from the text.
        clip_weight: of that.
        extra: image -> [N], further weighted terms (identity, direction).
        distance_weight: of the sum of squares over ALL parts, moved or not.
        steps: of Adam, betas 0.9 and 0.999.
        learning_rate: the highest.
        report: is told of every step.
    """
    parts = {name: x.detach().clone() for name, x in start.items()}
    moved = [parts[name].requires_grad_() for name in parts if name in moves]
    optimizer = torch.optim.Adam(moved)
    for step in range(steps):
        image = draw(parts)
        seen = clip(image).sum()
        gap = torch.stack([(parts[n] - x).square().sum() for n, x in start.items()]).sum()
        loss = clip_weight * seen + distance_weight * gap
        if extra is not None:
            loss = loss + extra(image).sum()
        rate = rate_at(step, steps, learning_rate)
        report(
            OptimiseStep(
                step, rate, float(seen.detach()), float(gap.detach()), float(loss.detach())
            )
        )
        # Not backward(): the generator's own gradients are none of this search's business.
        for part, grad in zip(moved, torch.autograd.grad(loss, moved), strict=True):
            part.grad = grad
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return {name: x.detach() for name, x in parts.items()}
