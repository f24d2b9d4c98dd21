"""From prompts and seeds to images: one path for the CLI, the served model, evaluation and samples.

An image is a function of (model, prompt, seed, truncation) alone: its noise is drawn from its own
seed on the CPU, so neither the batch it is made in nor the device changes it (beyond rounding, at
most 1/255).

Legend: N images, D noise width, H W pixels. Images leave as uint8 NHWC, as a PNG holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.errors import ConfigError, NonFiniteError
from components.image_request import check_prompt, check_seed, check_truncation
from models.interfaces import Condition

BATCH = 16  # images per forward pass; any value gives the same images


def seed_noise(seeds: Sequence[int], z_dim: int) -> Tensor:
    """Return z [N, z_dim], float32 on the CPU; row i depends on seeds[i] alone."""
    rows = [
        torch.randn(z_dim, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds
    ]
    return torch.stack(rows) if rows else torch.empty(0, z_dim)


def generate(
    model: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    truncation: float = 1.0,
    batch: int = BATCH,
) -> np.ndarray:
    """Return the images of `prompts[i]` with `seeds[i]`, uint8 [N, H, W, 3].

    Args:
        model: a `TextToImage`: has `generator` and `condition(prompts) -> Condition`.
        prompts: one text per image, 1 to 10,000 characters.
        seeds: one seed per image, in [0, 2^63).
        truncation: psi in [0, 1]; 1 is full variety, 0 the mean image of the prompt.
        batch: images per forward pass.

    Raises:
        ConfigError: a prompt, a seed or psi is not allowed, or the counts differ.
        NonFiniteError: the generator gave NaN or infinity.
    """
    if len(prompts) != len(seeds) or not prompts:
        raise ConfigError(
            f"{len(prompts)} prompts and {len(seeds)} seeds", "generate", "give one seed per prompt"
        )
    for prompt in prompts:
        check_prompt(prompt)
    images = []
    for start in range(0, len(prompts), batch):
        stop = start + batch
        with torch.inference_mode(), evaluation_mode(model):
            condition = model.condition(list(prompts[start:stop]))
        images.append(
            generate_from(model.generator, condition, seeds[start:stop], truncation, batch)
        )
    return np.concatenate(images)


def generate_from(
    generator: Any,
    condition: Condition,
    seeds: Sequence[int],
    truncation: float = 1.0,
    batch: int = BATCH,
) -> np.ndarray:
    """Return the images of ready-made conditions, uint8 [N, H, W, 3].

    Row i of `condition` goes with seeds[i]; arguments and errors as in `generate`.
    """
    check_truncation(truncation)
    for seed in seeds:
        check_seed(seed)
    device = device_of(generator)
    images = []
    for start in range(0, len(seeds), batch):
        part = slice(start, start + batch)
        z_ND = seed_noise(seeds[part], generator.z_dim).to(device)
        with torch.inference_mode(), evaluation_mode(generator):
            rows = condition[part].to(device)
            ws_NLD = generator.map(z_ND, rows, truncation)
            images.append(to_uint8(generator.synthesize(ws_NLD, rows, noise="const")))
    return np.concatenate(images)


def to_uint8(image_NCHW: Tensor) -> np.ndarray:
    """Return uint8 [N, H, W, C] of images in [-1, 1], clamped.

    Raises:
        NonFiniteError: a value is NaN or infinite.
    """
    if not torch.isfinite(image_NCHW).all():
        raise NonFiniteError(
            "the generator gave NaN or infinity", "sampling", "use an earlier artifact"
        )
    scaled = (image_NCHW.float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def from_uint8(images_NHWC: np.ndarray) -> Tensor:
    """Return float32 [N, C, H, W] in [-1, 1] of uint8 images."""
    image_NCHW = torch.from_numpy(np.ascontiguousarray(images_NHWC)).permute(0, 3, 1, 2)
    return image_NCHW.contiguous().float() / 127.5 - 1


def device_of(module: Any) -> torch.device:
    """Return the device of a module's first tensor, the CPU for one without tensors."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch to eval for a while; every sub-module gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
