"""The fast form of a generator: weights cast once, sums over weights taken once, compiled if asked.

Training needs weights that change, in float32; sampling does not. At batch 1 the cast of a weight
costs as much memory traffic as the convolution that uses it.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Precision = Literal["float32", "bfloat16"]


@runtime_checkable
class Cached(Protocol):
    """A layer that can fix what depends on its weights alone."""

    def cache_weights(self, dtype: torch.dtype, *, compiled: bool) -> None:
        """Take sums in float32, then hold the large weights in `dtype`, in a form that suits a
        compiler or one that does not.
        """


def fast_form(generator: Any, *, precision: Precision = "float32", compiled: bool = False) -> Any:
    """Turn a generator into its fast form, in place, and return it; it cannot train afterwards.

    Args:
        generator: implements `models.interfaces.Generator`; each layer with `cache_weights` is
            asked to fix what it can.
        precision: of convolutions. Styles, demodulation and the image stay in float32; bfloat16
            differs by about 2 % (relative, per image), float32 by about 1e-6 (fewer products on a
            CPU, models/layers/short_convolution.py).
        compiled: torch.compile the synthesis: minutes at the first call, then faster on a GPU.
    """
    dtype = getattr(torch, precision)
    generator.eval().requires_grad_(False)
    if isinstance(generator, nn.Module):
        generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in generator.modules():
        if isinstance(part, Cached):
            part.cache_weights(dtype, compiled=compiled)
    for name in ("synthesize", "synthesize_mixed"):
        if not hasattr(generator, name):
            continue
        synthesize = getattr(generator, name)
        if dtype is not torch.float32:
            synthesize = _autocast(synthesize, dtype)
        if compiled:
            synthesize = torch.compile(synthesize)
        setattr(generator, name, synthesize)
    return generator


def _autocast(synthesize: Any, dtype: torch.dtype) -> Any:
    @functools.wraps(synthesize)
    def cast(ws_NLD: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # The weights are cast already: autocast's own cache would only hold copies.
        with torch.autocast(ws_NLD.device.type, dtype=dtype, cache_enabled=False):
            return synthesize(ws_NLD, *args, **kwargs)

    return cast
