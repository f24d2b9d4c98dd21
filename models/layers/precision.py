"""Keep float32 for some operations although the loop runs under bfloat16 autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager:
    """Return a context in which autocast is off on the device of `x`.

    Styles, demodulation, statistics and sampling grids are a few per cent of the time and lose the
    most by rounding. The meta device knows no autocast.
    """
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)
