"""Find the code of an image: Adam changes the code, and the generator is frozen.

Karras et al. 2020, arXiv 1912.04958, appendix D, with the settings of Sauer et al. 2022, arXiv
2202.00273.

Deviations: the search starts from the nearest of the mean and some drawn codes; only what noise
moves is searched, not the part of a code that holds the condition; the layers' noise is the stored
one, so nothing regularises it.

Legend: L layers, D width of a code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.errors import NonFiniteError
from components.inversion.distance import Distances, ImageDistance
from components.inversion.start import code_space, nearest_start
from components.requests.inversion import InversionConfig
from components.sampling import evaluation_mode
from models.interfaces import Condition


@dataclass(frozen=True)
class Step:
    """One row of the record: the distance before a step, and the step's learning rate and noise."""

    phase: str
    step: int
    distance: float
    features: float
    pixels: float
    learning_rate: float
    noise: float


Report = Callable[[Step], object]
"""Is told of every step."""


def quiet(step: Step) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class FoundCode:
    """What the search found.

    Attributes:
        ws_LD: the code of the lowest distance without noise.
        distance: of its image.
        mean_distance: of the mean image, where one knows nothing.
        steps: the record.
    """

    ws_LD: Tensor
    distance: float
    mean_distance: float
    steps: list[Step]


def find_code(
    generator: Any,
    condition: Condition,
    distance: ImageDistance,
    config: InversionConfig,
    report: Report = quiet,
) -> FoundCode:
    """Return the code whose image is nearest to the distance's target.

    Args:
        generator: anything that implements `models.interfaces.Generator`; it stays as it is.
        condition: one row, on the generator's device.
        distance: to the image that is looked for.
        config: how to search.
        report: is told of every step.

    Raises:
        NonFiniteError: the distance is NaN or infinite.
    """
    space = code_space(generator, condition, config)
    start_LD, best, mean_distance = nearest_start(generator, condition, space, distance)
    ws_LD = start_LD
    rows = 1 if config.layers == "one" else len(start_LD)
    change_RD = torch.zeros_like(start_LD[:rows]).requires_grad_()
    optimizer = torch.optim.Adam([change_RD])  # betas 0.9 and 0.999, as published
    rng = torch.Generator().manual_seed(config.seed)
    steps = []
    with evaluation_mode(generator):
        for step in range(config.steps + 1):
            last = step == config.steps
            rate, spread = (0.0, 0.0) if last else _ramps(step, config, space.distance)
            noise_RD = torch.randn(change_RD.shape, generator=rng).to(change_RD) * spread
            now_LD = start_LD + space.moves_LD * (change_RD + noise_RD)
            found = distance(generator.synthesize(now_LD[None], condition, noise="const"))
            steps.append(record("code", step, found, rate, spread))
            report(steps[-1])
            if spread == 0 and steps[-1].distance < best:
                ws_LD, best = now_LD.detach().clone(), steps[-1].distance
            if last:
                break
            # Not backward(): the generator's own gradients are none of this search's business.
            (change_RD.grad,) = torch.autograd.grad(found.total_N.sum(), change_RD)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
    return FoundCode(ws_LD, best, mean_distance, steps)


def record(phase: str, step: int, found: Distances, rate: float, noise: float = 0.0) -> Step:
    """Return a row of the record.

    Raises:
        NonFiniteError: the distance is NaN or infinite.
    """
    total, features, pixels = (
        float(x.detach()) for x in (found.total_N, found.features_N, found.pixels_N)
    )
    if not all(map(math.isfinite, (total, features, pixels))):
        raise NonFiniteError(
            f"the distance is {total}", f"{phase}, step {step}", "lower the learning rate"
        )
    return Step(phase, step, total, features, pixels, rate, noise)


def _ramps(step: int, config: InversionConfig, scale: float) -> tuple[float, float]:
    """Return learning rate and noise of a step; both are taken at its middle, so none is 0 for
    nothing.
    """
    done = (step + 0.5) / config.steps
    down = min(1.0, (1 - done) / config.ramp_down) if config.ramp_down else 1.0
    up = min(1.0, done / config.ramp_up) if config.ramp_up else 1.0
    left = max(0.0, 1 - done / config.noise_share) if config.noise_share else 0.0
    rate = config.learning_rate * up * (0.5 - 0.5 * math.cos(math.pi * down))
    return rate, scale * config.noise * left**2
