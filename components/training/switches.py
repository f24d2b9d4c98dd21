"""Switches of the loop for speed and memory: device, memory order, compilation.

They never change the formula.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

import torch
from torch import nn

from components.training.config import TrainConfig
from models.interfaces import Networks

# Settings of glibc's malloc.h, and values that no tensor of a CPU training reaches.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MALLOC = {M_TRIM_THRESHOLD: 2**31 - 1, M_MMAP_THRESHOLD: 2**30}


def keep_freed_memory() -> None:
    """Let glibc hand out freed memory again, instead of giving every large tensor's pages back to
    the system and having them cleared anew: up to 7 % of a step (docs/log.md).
    Elsewhere: nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for setting, value in MALLOC.items():
            mallopt(setting, value)


def lay_out(networks: Networks, config: TrainConfig, device: torch.device) -> None:
    """Move all networks to the device, trained ones to training mode, frozen ones out of reach of
    gradients.

    A module with an attribute `checkpoint_activations` recomputes its activations when the config
    says so.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32; bf16 is the fast switch
    else:
        keep_freed_memory()
    order = torch.channels_last if config.channels_last else torch.contiguous_format
    for module in _all(networks):
        module.to(device)
        module.to(memory_format=order)  # type: ignore[call-overload]
        for part in module.modules():
            if hasattr(part, "checkpoint_activations"):
                setattr(part, "checkpoint_activations", config.checkpoint_activations)  # noqa: B010
    for module in networks.trained.values():
        module.train()
    for module in networks.frozen.values():
        module.eval().requires_grad_(False)


def compile_networks(networks: Networks, *, cuda_graphs: bool = False) -> None:
    """Compile in place; names in the state stay as they are.

    A generator is called through `synthesize`, other modules through `forward`; a module may name
    its own entry points in `compile_methods`. With `cuda_graphs` the kernels of a GPU are recorded
    and replayed; the loop marks where a new micro-batch may overwrite what the last one returned.
    """
    mode = "reduce-overhead" if cuda_graphs else None
    for module in _all(networks):
        default = ("synthesize",) if hasattr(module, "synthesize") else ("forward",)
        for name in getattr(module, "compile_methods", default):
            setattr(module, name, torch.compile(getattr(module, name), mode=mode))


def _all(networks: Networks) -> Iterator[nn.Module]:
    yield from networks.trained.values()
    yield from networks.frozen.values()
