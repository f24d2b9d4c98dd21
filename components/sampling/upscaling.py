"""Enlarge a picture from elsewhere with the upsampler of a model, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from components.errors import ConfigError
from components.requests.images import check_prompt, check_seed
from components.sampling.draw import conditions, seed_noise, to_uint8
from components.sampling.modes import device_of, evaluation_mode
from models.interfaces import Batch, Blend, Condition

TILES_AT_ONCE = 4


class Upscaler(Protocol):
    """A network that enlarges pictures of any size, told what they show where `takes_condition`."""

    z_dim: int
    factor: int
    takes_condition: bool

    def strips(
        self,
        image_3HW: Tensor,
        z_1Z: Tensor,
        condition: Condition,
        *,
        blend: Blend = "smooth",
        batch: int = 4,
    ) -> Iterator[Tensor]:
        """Yield a uint8 picture, `factor` times as large, as strips [3, h, W] from the top, in
        [-1, 1]; tiles overlap unless blend is "none", and `batch` of them are computed at once.
        """


def upscaler_of(model: Any) -> Upscaler:
    """Return what enlarges pictures in a model; ConfigError where there is none."""
    found = getattr(model.generator, "upscaler", None)
    if found is None:
        todo = "give an upsampler, or a cascade, which holds one"
        raise ConfigError("the model enlarges no pictures", "--model", todo)
    upscaler: Upscaler = found
    return upscaler


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
    upscaler: Any = upscaler_of(model)
    device, condition = device_of(upscaler), Condition()
    if upscaler.takes_condition:
        condition = conditions(model, [subject]).to(device)
    z_1Z = seed_noise([seed], upscaler.z_dim).to(device)
    image_3HW = torch.tensor(pixels_HWC).permute(2, 0, 1).to(device)
    with evaluation_mode(upscaler):
        for strip in upscaler.strips(image_3HW, z_1Z, condition, blend=blend, batch=batch):
            yield to_uint8(strip[None])[0]


def beside_bicubic(rows: Batch, enlarged_NHWC: np.ndarray) -> np.ndarray:
    """Return four images for each row, to be laid out in four columns.

    Args:
        rows: conditions with small pictures, and the real images.
        enlarged_NHWC: uint8, what a model made of them.

    Returns:
        uint8 [4 N, H, W, 3]: what it was given (its pixels as squares), bicubic interpolation of
        that, what it made of it, and the real image.
    """
    small_NCHW, real_NCHW = rows.condition.picture_NCHW, rows.image_NCHW
    assert small_NCHW is not None and real_NCHW is not None, "an upsampler is shown real images"
    size = enlarged_NHWC.shape[1:3]
    images = np.stack(
        [
            to_uint8(F.interpolate(small_NCHW, size=size, mode="nearest")),
            to_uint8(F.interpolate(small_NCHW, size=size, mode="bicubic")),
            enlarged_NHWC,
            to_uint8(real_NCHW),
        ],
        axis=1,
    )
    return images.reshape(-1, *enlarged_NHWC.shape[1:])
