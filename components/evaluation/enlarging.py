"""Measure an upsampler on shrunk held-out images, against bicubic interpolation of the same ones.

Both get real images shrunk by area averages, and what they make of them is compared with the real
ones. A net that looks at whole images shrinks them again and hardly sees what was added, so it also
looks at patches of its own size, every one of each image. Legend: N images, s side of a patch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from components.evaluation.distances import Moments, frechet_distance
from components.evaluation.features import features_of, held_out, stack
from components.evaluation.pieces import ENLARGED, Piece
from components.sampling import device_of, from_uint8, seed_noise, to_uint8

IMAGES_LIMIT = 500
BICUBIC = "_bicubic"


def measure_enlarging(bench: Any, generator: Any) -> dict[str, Any]:
    """Return what an upsampler is worth beside bicubic interpolation.

    Args:
        bench: the measuring bench; the CLIP that scores looks, or without one the distances' net.
        generator: a network with an `upscaler`; of others nothing is measured.

    Returns:
        scores: `upscaling` {patches, frechet, drift, each also with `_bicubic`}: Frechet distances
        of patches (left out where an image has only one) and of whole images; mean absolute
        difference, of a range of 2, of the result shrunk again from what it was made of. cards
        beside them.
    """
    upscaler = getattr(generator, "upscaler", None)
    if upscaler is None:
        return {"scores": {}, "cards": {}, "missing": {}}
    net, count = _net(bench), _count(bench)
    found = bench.look(Piece(of=ENLARGED), generator)["measures"]
    side = getattr(net.network, "image_size", 0)
    note = f"real images shrunk by {upscaler.factor} and enlarged; patches of {side} px"
    card = bench.card(net, count, num_real=count, note=note)
    return {"scores": {"upscaling": found}, "cards": {"upscaling": card}, "missing": {}}


def _net(bench: Any) -> Any:
    return bench.clip or bench.net


def _count(bench: Any) -> int:
    return min(bench.source.num_rows, bench.config.num_fake, IMAGES_LIMIT)


def compared(bench: Any, upscaler: Any) -> dict[str, float]:
    """Return `upscaling` of `measure_enlarging`."""
    bench.give_words(upscaler)
    network, count = _net(bench).network, _count(bench)
    side = getattr(network, "image_size", 0)
    seen: dict[str, list[dict[str, Tensor]]] = {}
    drift: dict[str, float] = {}
    first = bench.config.seed
    for rows in held_out(bench.source, count, bench.config.batch):
        assert rows.image_NCHW is not None, "a held-out row has an image"
        small = F.avg_pool2d(rows.image_NCHW, upscaler.factor)
        z_NZ = seed_noise(range(first, first + rows.size), upscaler.z_dim)
        first += rows.size
        images = {
            "real": to_uint8(rows.image_NCHW),
            "": _enlarged(upscaler, small, z_NZ, rows.condition),
            BICUBIC: to_uint8(F.interpolate(small, scale_factor=upscaler.factor, mode="bicubic")),
        }
        for name, pixels in images.items():
            seen.setdefault(f"frechet {name}", []).append(features_of(network, pixels))
            if side and pixels.shape[1] > side and pixels.shape[1] % side == 0:
                parts = features_of(network, patches(pixels, side))
                seen.setdefault(f"patches {name}", []).append(parts)
            again = F.avg_pool2d(from_uint8(pixels), upscaler.factor)
            drift[name] = drift.get(name, 0.0) + float((again - small).abs().mean()) * rows.size
    moments = {name: Moments.of(stack(parts)["pooled"]) for name, parts in seen.items()}
    found = {
        f"{kind}{name}": frechet_distance(moments[f"{kind} real"], moments[f"{kind} {name}"])
        for kind in ("patches", "frechet")
        for name in ("", BICUBIC)
        if f"{kind} {name}" in moments
    }
    return found | {f"drift{name}": drift[name] / count for name in ("", BICUBIC)}


def patches(images_NHWC: np.ndarray, side: int) -> np.ndarray:
    """Cut images into squares, row by row: [N (H / s) (W / s), s, s, 3]."""
    count, height, width, channels = images_NHWC.shape
    cut = images_NHWC.reshape(count, height // side, side, width // side, side, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(-1, side, side, channels)


def _enlarged(upscaler: Any, small_N3HW: Tensor, z_NZ: Tensor, condition: Any) -> np.ndarray:
    where = device_of(upscaler)
    with torch.inference_mode():
        inputs = (small_N3HW.to(where), z_NZ.to(where), condition.to(where))
        return to_uint8(upscaler.upscale(*inputs))
