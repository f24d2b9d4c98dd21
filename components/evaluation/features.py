"""Feature vectors of held-out and of generated images, streamed: only the vectors stay in memory.

Generated images are rounded to uint8 first, as a PNG holds them: what is measured is what the user
gets. Real-side vectors are cached by what they are a function of (data content, weights of the net,
resolution, selection), never by path. Legend: N images, D feature width, H W pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.data.captions import PAIR_ATTRIBUTES
from components.errors import NonFiniteError
from components.evaluation.nets import MeasuringNet
from components.sampling import device_of, from_uint8, generate_from, to_uint8
from models.interfaces import Batch

# What is kept of a net's features: one vector per image each.
KEPT = ("pooled", "pixels", *PAIR_ATTRIBUTES)
CACHE_VERSION = 1  # raise when the vectors of the same inputs change


def held_out(source: Any, count: int, batch: int) -> Iterator[Batch]:
    """Yield the first `count` samples of a source's stream; it goes round when rows run out."""
    for start in range(0, count, batch):
        yield source.atom(start, min(batch, count - start))


def held_out_images(source: Any, count: int, batch: int) -> Iterator[np.ndarray]:
    """Yield the images of `held_out` as uint8 [N, H, W, 3]."""
    for rows in held_out(source, count, batch):
        assert rows.image_NCHW is not None, "a held-out row has an image"
        yield to_uint8(rows.image_NCHW)


def generated(
    generator: Any, source: Any, *, count: int, batch: int, seed: int, truncation: float = 1.0
) -> Iterator[tuple[np.ndarray, tuple[str, ...]]]:
    """Yield uint8 images of held-out conditions, and their captions; image i has seed + i."""
    first = seed
    for rows in held_out(source, count, batch):
        seeds = range(first, first + rows.size)
        first += rows.size
        yield generate_from(generator, rows.condition, seeds, truncation, batch), rows.captions


def features_of(network: Any, images_NHWC: np.ndarray) -> dict[str, Tensor]:
    """Return the vectors and logits of one batch of uint8 images, float32 on the CPU."""
    with torch.inference_mode():
        features = network(from_uint8(images_NHWC).to(device_of(network)))
    kept = {name: x.float().cpu() for name, x in features.items() if name in KEPT}
    for name, x in kept.items():
        if not torch.isfinite(x).all():
            raise NonFiniteError(
                f"feature {name} is NaN or infinite", "evaluate", "check the encoder's weights"
            )
    return kept


def stack(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Join the features of batches into one tensor per name."""
    lists: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, x in part.items():
            lists.setdefault(name, []).append(x)
    return {name: torch.cat(xs) for name, xs in lists.items()}


def real_features(
    source: Any,
    net: MeasuringNet,
    *,
    count: int,
    batch: int = 1,
    cache: Path | None = None,
    parts: Iterable[Mapping[str, Tensor]] | None = None,
) -> dict[str, Tensor]:
    """Return the features of `count` real images, from the cache if it has them.

    Args:
        source: a BatchSource of the held-out rows, or of the training's with a net of another name.
        net: the net to measure with.
        count: images, at most the source's rows.
        batch: images per forward pass.
        cache: folder of cached features; None does not cache.
        parts: what the net sees on these images, in order; asked only where the cache has nothing.
            None: the net looks here.
    """
    path = cached_file(source, net, count, cache)
    if path is not None and (cached := _read_cached(path)) is not None:
        return cached
    if parts is None:
        images = held_out_images(source, count, batch)
        parts = (features_of(net.network, some) for some in images)
    features = stack(parts)
    if path is not None:
        _write_cached(path, features)
    return features


def cached_file(source: Any, net: MeasuringNet, count: int, cache: Path | None) -> Path | None:
    """Return where `real_features` keeps the features; None without a folder."""
    key = {
        "version": CACHE_VERSION,
        "data": source.content_hash,
        "net": net.sha256,
        "resizer": net.resizer,
        "resolution_px": source.resolution,
        "count": count,
        "seed": source.seed,  # decides the order of the rows
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return None if cache is None else cache / f"{name}.safetensors"


def _read_cached(path: Path) -> dict[str, Tensor] | None:
    """Return what is cached; None when it is absent or damaged: it is then measured anew."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _write_cached(path: Path, features: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(handle)
    save_file({name: x.contiguous() for name, x in features.items()}, temporary)
    os.replace(temporary, path)
