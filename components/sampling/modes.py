"""The device of a module, and evaluation mode for a limited time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


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
