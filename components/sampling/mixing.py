"""Style mixing: some layers take one image's code, the other layers another's.

Karras et al. 2019, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.errors import ConfigError
from components.sampling.draw import (
    BATCH,
    Noise,
    check_rows,
    codes,
    conditions,
    layer_noise,
    render,
    to_uint8,
)
from components.sampling.modes import device_of, evaluation_mode
from components.sampling.truncation import MEAN, Towards
from models.interfaces import Condition


def mix(
    model: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    style_prompts: Sequence[str],
    style_seeds: Sequence[int],
    layers: Sequence[int],
    truncation: float = 1.0,
    batch: int = BATCH,
    noise: Noise = "const",
    towards: Towards = MEAN,
) -> np.ndarray:
    """Return images of `prompts[i]`, `seeds[i]` whose `layers` have the style's codes.

    Args:
        model: see `generate`.
        prompts, seeds: give all other layers, and the noise.
        style_prompts, style_seeds: give `layers`; text that is part of the codes comes with them,
            and where layers attend to words, these layers read the style's (prompt mixing).
        layers: entries of ws, from 0.
        truncation, batch, noise, towards: see `generate`.

    Returns:
        uint8 [N, H, W, 3].

    Raises:
        ConfigError: as `generate`; no layer, or one that the generator does not have.
    """
    psis = check_rows(prompts, seeds, truncation)
    check_rows(style_prompts, style_seeds, truncation)
    if len(seeds) != len(style_seeds):
        raise ConfigError(
            f"{len(seeds)} images and {len(style_seeds)} styles", "mix", "give one style per image"
        )
    generator = model.generator
    images = []
    for start in range(0, len(seeds), batch):
        part = slice(start, start + batch)
        own = conditions(model, prompts[part]).to(device_of(generator))
        style = conditions(model, style_prompts[part]).to(device_of(generator))
        # A copy: a family may hand out one code, expanded over the layers.
        ws_NLD = codes(generator, own, seeds[part], psis[part], towards).clone()
        check_layers(layers, ws_NLD.shape[1])
        style_NLD = codes(generator, style, style_seeds[part], psis[part], towards)
        ws_NLD[:, list(layers)] = style_NLD[:, list(layers)]
        if hasattr(generator, "synthesize_mixed"):
            images.append(_render_mixed(generator, ws_NLD, own, style, layers))
            continue
        images.append(render(generator, ws_NLD, own, layer_noise(generator, seeds[part], noise)))
    return np.concatenate(images)


def _render_mixed(
    generator: Any, ws_NLD: Tensor, own: Condition, style: Condition, layers: Sequence[int]
) -> np.ndarray:
    """Return the images of a generator whose layers read the words of a text themselves."""
    with torch.inference_mode(), evaluation_mode(generator):
        return to_uint8(generator.synthesize_mixed(ws_NLD, own, style, layers))


def num_layers(model: Any, prompt: str) -> int:
    """Return how many layers of the generator read a code of their own."""
    condition = conditions(model, [prompt]).to(device_of(model.generator))
    return int(codes(model.generator, condition, [0], [1.0]).shape[1])


def check_layers(layers: Sequence[int], count: int) -> None:
    """Raise ConfigError unless there is a layer and all are in [0, count)."""
    if not layers or min(layers) < 0 or max(layers) >= count:
        wrong = [str(layer) for layer in layers if not 0 <= layer < count]
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        what = f"no layer {', '.join(wrong[:3])}{more}" if wrong else "no layers"
        raise ConfigError(what, "layers", f"the generator has layers 0 to {count - 1}")
