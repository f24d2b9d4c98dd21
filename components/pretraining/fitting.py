"""What all small trainings here share: random rows, AdamW, warm-up and cosine schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from components.pretraining.config import FitConfig

WARM_UP = 0.1  # share of the training
REPORT_EVERY = 0.25  # share of the training between two progress lines
Say = Callable[[str], None]


def learning_rate_factor(progress: float) -> float:
    """Return the share of the peak rate at `progress` in [0, 1]: linear up, then cosine to 0."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def thaw(network: Any) -> Any:
    """Make a fresh network trainable; channels-last weights make its convolutions faster."""
    return network.requires_grad_(True).train().to(memory_format=torch.channels_last)


def freeze(network: Any) -> Any:
    """Undo `thaw`, so that the net behaves as one that is loaded from its file."""
    return network.requires_grad_(False).eval().to(memory_format=torch.contiguous_format)


def parameter_groups(modules: Iterable[nn.Module], weight_decay: float) -> list[dict]:
    """Return AdamW's groups: kernels and matrices decay, biases, norms and scalars do not."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def fit(
    modules: Iterable[nn.Module],
    loss: Callable[[Tensor, float], Tensor],
    *,
    num_images: int,
    config: FitConfig,
    rng: torch.Generator,
    say: Say,
    after_step: Callable[[float], None] = lambda progress: None,
) -> float:
    """Train.

    Args:
        modules: what is trained.
        loss: (rows of the images, progress in [0, 1]) -> scalar.
        num_images: rows are drawn from [0, num_images), epoch by epoch.
        config: length and speed.
        rng: of the order of the images.
        say: receives progress lines.
        after_step: called with the progress after every step.

    Returns:
        the mean loss of the last tenth of the steps.
    """
    optimizer = torch.optim.AdamW(parameter_groups(modules, config.weight_decay), betas=(0.9, 0.98))
    batch = min(config.batch, num_images)
    num_steps = max(1, round(config.total_kimg * 1000 / batch))
    order = torch.empty(0, dtype=torch.long)
    losses: list[float] = []
    started = time.monotonic()
    for step in range(num_steps):
        progress = step / num_steps
        if len(order) < batch:
            order = torch.cat([order, torch.randperm(num_images, generator=rng)])
        rows, order = order[:batch], order[batch:]
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(progress + 0.5 / num_steps)
        value = loss(rows, progress)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        after_step(progress)
        losses.append(value.item())
        if (step + 1) % max(1, round(num_steps * REPORT_EVERY)) == 0:
            say(f"{(step + 1) * batch / 1000:.0f} kimg, loss {losses[-1]:.3f}, "
                f"{time.monotonic() - started:.0f} s")  # fmt: skip
    tail = losses[-max(1, num_steps // 10) :]
    return sum(tail) / len(tail)
