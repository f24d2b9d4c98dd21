"""Enlarge a picture from elsewhere with the upsampler of a model, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch

from components.errors import ConfigError
from components.requests.images import check_prompt, check_seed
from components.sampling.draw import conditions, seed_noise, to_uint8
from components.sampling.modes import device_of, evaluation_mode
from models.interfaces import Condition

TILES_AT_ONCE = 4

Blend = Literal["smooth", "equal", "none"]
"""How tiles meet: each counts less near its edge; two passes count alike; they do not overlap."""


def upscaler_of(model: Any) -> Any:
    """Return the `models.interfaces.Upscaler` of a model; ConfigError where there is none."""
    found = getattr(model.generator, "upscaler", None)
    if found is None:
        todo = "give an upsampler, or a cascade, which holds one"
        raise ConfigError("the model enlarges no pictures", "--model", todo)
    return found


def upscale(
    model: Any,
    pixels_HWC: np.ndarray,
    subject: str = "",
    *,
    seed: int = 0,
    blend: Blend = "smooth",
    batch: int = TILES_AT_ONCE,
) -> Iterator[np.ndarray]:
    """Yield the picture `upscaler_of(model).factor` times as large, as strips of rows.

    The same arguments give the same picture. Memory grows with the width alone.

    Args:
        model: of `load_release(..., draws=False)`.
        pixels_HWC: uint8 RGB, of any size.
        subject: what the picture shows: a prompt, or a class; "" is the empty prompt.
        seed: of the upsampler's noise vector, the same for all tiles.
        blend: how tiles meet.
        batch: tiles at once.

    Returns:
        uint8 [h, W, 3] each.

    Raises:
        ConfigError: the model has no upsampler, or is not told a subject; a seed or prompt that is
            not allowed.
        NonFiniteError: the upsampler gave NaN or infinity.
    """
    upscaler = upscaler_of(model)
    check_seed(seed)
    if subject:
        check_prompt(subject)
    if subject and not upscaler.takes_condition:
        todo = "leave the prompt out"
        raise ConfigError("the model's upsampler is told nothing of a picture", "prompt", todo)
    return _strips(model, pixels_HWC, subject, seed, blend, batch)


@torch.inference_mode()
def _strips(
    model: Any, pixels_HWC: np.ndarray, subject: str, seed: int, blend: Blend, batch: int
) -> Iterator[np.ndarray]:
    upscaler = upscaler_of(model)
    device, condition = device_of(upscaler), Condition()
    if upscaler.takes_condition:
        condition = conditions(model, [subject]).to(device)
    z_1Z = seed_noise([seed], upscaler.z_dim).to(device)
    image_3HW = torch.from_numpy(np.ascontiguousarray(pixels_HWC)).permute(2, 0, 1).to(device)
    with evaluation_mode(upscaler):
        for strip in upscaler.strips(image_3HW, z_1Z, condition, blend=blend, batch=batch):
            yield to_uint8(strip[None])[0]
