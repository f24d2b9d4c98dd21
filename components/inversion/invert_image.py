"""The whole inversion: image to code, pictures to compare, and a tuned generator if asked.

Legend: H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from components.artifacts.artifact import GENERATOR
from components.inversion.distance import ImageDistance
from components.inversion.find_code import Report, Step, find_code, quiet
from components.inversion.pivotal import tune_around
from components.requests.inversion import InversionConfig
from components.sampling import StoredCode, device_of, draw_codes


@dataclass(frozen=True)
class Inversion:
    """What was found.

    Attributes:
        code: to be stored.
        pictures: name -> uint8 [H, W, 3]: the code's image and, if tuned, the tuned one.
        steps: the record of all distances.
        mean_distance: of the mean image, which knows nothing of the target.
    """

    code: StoredCode
    pictures: dict[str, np.ndarray]
    steps: list[Step]
    mean_distance: float


def invert_image(
    model: Any,
    card: Mapping[str, Any],
    subject: str,
    distance: ImageDistance,
    config: InversionConfig,
    report: Report = quiet,
) -> Inversion:
    """Find the code of the distance's target; with `config.pivotal_steps`, tune the generator.

    The same arguments give the same bytes on a CPU.

    Args:
        model: a release's, not in its fast form; its generator is tuned in place.
        card: the release's.
        subject: prompt or class that the image shows.
        distance: to the image.
        config: how to search and to tune.
        report: is told of every step.

    Raises:
        NonFiniteError: the distance is NaN or infinite.
    """
    generator = model.generator
    with torch.no_grad():
        condition = model.condition([subject]).to(device_of(generator))
    found = find_code(generator, condition, distance, config, report)
    facts = {**asdict(config), "distance": found.distance, "mean_distance": found.mean_distance}
    code = StoredCode(
        ws_LD=found.ws_LD,
        subject=subject,
        generator_sha256=card["files"][GENERATOR],
        facts=facts,
    )
    pictures, steps = {"found": draw_codes(model, [code])[0]}, found.steps
    if config.pivotal_steps:
        steps = steps + tune_around(generator, found.ws_LD, condition, distance, config, report)
        pictures["tuned"] = draw_codes(model, [code])[0]
    return Inversion(code, pictures, steps, found.mean_distance)
