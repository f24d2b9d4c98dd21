"""Draw images from prompts and seeds: one path for CLI, served model, evaluation and samples.

An image is a function of (model, prompt, seed, truncation, kind of noise) alone: its noise is drawn
from its own seed on the CPU, so neither the batch it is made in nor the device changes it (beyond
rounding: in float32 at most 1/255; bfloat16 can turn a last bit into more at an edge, so there
`batch=1` is what keeps an image apart from its neighbours).

Legend: N images, D noise width, L layers, H W pixels. Images leave as uint8 NHWC, as a PNG holds
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from components.errors import ConfigError, NonFiniteError
from components.requests.images import check_prompt, check_seed, check_truncation
from components.sampling.modes import device_of, evaluation_mode
from components.sampling.truncation import MEAN, Towards, map_codes
from models.interfaces import Condition

BATCH = 16  # images per forward pass; any value gives the same images

Noise = Literal["const", "random", "none"]
"""Of the synthesis layers: what training stored, drawn from the image's seed, or none."""


def generate(
    model: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    truncation: float | Sequence[float] = 1.0,
    batch: int = BATCH,
    noise: Noise = "const",
    towards: Towards = MEAN,
) -> np.ndarray:
    """Return the images of `prompts[i]` with `seeds[i]`, uint8 [N, H, W, 3].

    Args:
        model: a `TextToImage`: has `generator` and `condition(prompts) -> Condition`.
        prompts: one text per image, 1 to 4,000 characters.
        seeds: one seed per image, in [0, 2^63).
        truncation: psi in [-2, 2], one for all or one per image; 1 is full variety, 0 the mean
            image of the prompt.
        batch: images per forward pass.
        noise: of the synthesis layers.
        towards: what psi draws to; the mean, in all layers, unless said otherwise.

    Raises:
        ConfigError: a prompt, a seed or psi is not allowed, the counts differ, or the generator
            cannot be truncated like this.
        NonFiniteError: the generator gave NaN or infinity.
    """
    batches = generate_batches(model, prompts, seeds, truncation, batch, noise, towards)
    return np.concatenate(list(batches))


def generate_batches(
    model: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    truncation: float | Sequence[float] = 1.0,
    batch: int = BATCH,
    noise: Noise = "const",
    towards: Towards = MEAN,
) -> Iterator[np.ndarray]:
    """Yield what `generate` returns batch by batch, so that any number of images fits in memory."""
    psis = check_rows(prompts, seeds, truncation)
    for start in range(0, len(prompts), batch):
        part = slice(start, start + batch)
        condition = conditions(model, prompts[part])
        yield generate_from(
            model.generator, condition, seeds[part], psis[part], batch, noise, towards
        )


def check_rows(
    prompts: Sequence[str], seeds: Sequence[int], truncation: float | Sequence[float]
) -> list[float]:
    """Return one psi per image; ConfigError unless all counts agree and every value is allowed."""
    if len(prompts) != len(seeds) or not prompts:
        raise ConfigError(
            f"{len(prompts)} prompts and {len(seeds)} seeds", "generate", "give one seed per prompt"
        )
    for prompt in prompts:
        check_prompt(prompt)
    for seed in seeds:
        check_seed(seed)
    return _one_each(truncation, len(seeds))


def conditions(model: Any, prompts: Sequence[str]) -> Condition:
    """Return the conditions of prompts, in evaluation mode and without gradients."""
    with torch.inference_mode(), evaluation_mode(model):
        return model.condition(list(prompts))


def generate_from(
    generator: Any,
    condition: Condition,
    seeds: Sequence[int],
    truncation: float | Sequence[float] = 1.0,
    batch: int = BATCH,
    noise: Noise = "const",
    towards: Towards = MEAN,
) -> np.ndarray:
    """Return the images of ready-made conditions, uint8 [N, H, W, 3].

    Row i of `condition` goes with seeds[i]; arguments and errors as in `generate`.
    """
    psis = _one_each(truncation, len(seeds))
    for seed in seeds:
        check_seed(seed)
    images = []
    for start in range(0, len(seeds), batch):
        part = slice(start, start + batch)
        rows = condition[part].to(device_of(generator))
        ws_NLD = codes(generator, rows, seeds[part], psis[part], towards)
        images.append(render(generator, ws_NLD, rows, layer_noise(generator, seeds[part], noise)))
    return np.concatenate(images)


def codes(
    generator: Any,
    condition: Condition,
    seeds: Sequence[int],
    truncation: Sequence[float],
    towards: Towards = MEAN,
) -> Tensor:
    """Return the per-layer codes ws [N, L, D] of one batch, on the generator's device."""
    z_ND = seed_noise(seeds, generator.z_dim).to(device_of(generator))
    psi: float | Tensor = truncation[0]
    if any(value != psi for value in truncation):
        psi = torch.tensor(truncation, device=z_ND.device)
    with torch.inference_mode(), evaluation_mode(generator):
        return map_codes(generator, z_ND, condition, psi, towards)


def render(generator: Any, ws_NLD: Tensor, condition: Condition, noise: Any) -> np.ndarray:
    """Return the images of codes, uint8 [N, H, W, 3]; `noise` goes to `Generator.synthesize`."""
    with torch.inference_mode(), evaluation_mode(generator):
        return to_uint8(generator.synthesize(ws_NLD, condition, noise=noise))


def seed_noise(seeds: Sequence[int], z_dim: int) -> Tensor:
    """Return z [N, z_dim], float32 on the CPU; row i depends on seeds[i] alone."""
    rows = [torch.randn(z_dim, generator=_stream(seed)) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, z_dim)


def layer_noise(generator: Any, seeds: Sequence[int], noise: Noise) -> Any:
    """Return what `Generator.synthesize` takes as noise, for one batch.

    "random" continues the stream of the seed that z was drawn from, image by image, on the CPU.

    Raises:
        ConfigError: an unknown kind, or the family has no noise to draw.
    """
    if noise not in get_args(Noise):
        raise ConfigError(f"noise is {noise!r}", "noise", f"use {', '.join(get_args(Noise))}")
    if noise != "random":
        return noise
    if not hasattr(generator, "draw_noise"):
        raise ConfigError("this family draws no noise", "noise", "use const")
    drawn = []
    for seed in seeds:
        stream = _stream(seed)
        torch.randn(generator.z_dim, generator=stream)  # z's numbers
        drawn.append(generator.draw_noise(1, stream))
    device = device_of(generator)
    return [torch.cat(layer).to(device) for layer in zip(*drawn, strict=True)]


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
    # A copy, for a decoded image is read-only.
    image_NCHW = torch.tensor(images_NHWC).permute(0, 3, 1, 2)
    return image_NCHW.contiguous().float() / 127.5 - 1


def _one_each(truncation: float | Sequence[float], count: int) -> list[float]:
    psis = list(truncation) if isinstance(truncation, Sequence) else [truncation] * count
    if len(psis) != count:
        raise ConfigError(
            f"{len(psis)} psis for {count} images", "truncation", "give one per image"
        )
    for psi in psis:
        check_truncation(psi)
    return psis


def _stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed))
