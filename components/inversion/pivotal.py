"""Pivotal tuning: the code that was found stays, and the generator learns to draw the image.

Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images". The generator's weights
move until it draws the image.

Legend: L layers, D width of a code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from components.inversion.distance import ImageDistance
from components.inversion.find_code import Report, Step, quiet, record
from components.requests.inversion import InversionConfig
from components.sampling import evaluation_mode
from models.interfaces import Condition


def tune_around(
    generator: Any,
    ws_LD: Tensor,
    condition: Condition,
    distance: ImageDistance,
    config: InversionConfig,
    report: Report = quiet,
) -> list[Step]:
    """Tune a generator in place; return the record, whose last row is the tuned generator's.

    Only what `synthesize` reads moves: mapping and running means stay, so codes keep their meaning.

    Args:
        generator: frozen before and after.
        ws_LD: the pivot.
        condition: one row.
        distance: to the image.
        config: steps and learning rate.
        report: is told of every step.

    Raises:
        NonFiniteError: the distance is NaN or infinite.
    """
    ws_1LD, steps = ws_LD[None].detach().clone(), []
    parameters = list(generator.requires_grad_(True).parameters())
    optimizer = torch.optim.Adam(parameters, lr=config.pivotal_learning_rate)
    try:
        with evaluation_mode(generator):
            for step in range(config.pivotal_steps + 1):
                last = step == config.pivotal_steps
                rate = 0.0 if last else config.pivotal_learning_rate
                found = distance(generator.synthesize(ws_1LD, condition, noise="const"))
                steps.append(record("pivotal", step, found, rate))
                report(steps[-1])
                if last:
                    break
                optimizer.zero_grad()
                found.total_N.sum().backward()
                optimizer.step()
    finally:
        generator.requires_grad_(False)
    return steps
