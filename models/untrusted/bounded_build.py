"""Build a network only as large as the file that will fill it.

A card is a few words that anybody can write: `z_dim: 100000000` would ask for more memory than
there is, a million blocks for minutes. The file of weights tells how many tensors and numbers there
really are, so that a description of far more is given up at its first tensor beyond them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

# A network also holds tensors that no file has (filters, grids), and may register one twice.
TENSORS_SLACK, NUMBERS_SLACK, FACTOR = 1_000, 2**24, 4
SMALL = 2**24  # numbers in a file whose network is built at once
MAKERS = ("empty", "zeros", "ones", "rand", "randn", "full", "arange", "linspace")
# What a constructor raises when a card gives it the wrong things.
BROKEN: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, ArithmeticError)
BROKEN += (AttributeError, RuntimeError, AssertionError, MemoryError)


class TooLarge(ValueError):
    """The description asks for a network far larger than the file of its weights."""


def file_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of the tensors of a safetensors file, without reading them.

    Raises:
        ValueError: the file is not readable as safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"not readable as safetensors: {error}") from error


def outline(build: Callable[[], Any], shapes: dict[str, tuple[int, ...]]) -> Any:
    """Return `build()`, given up as soon as it is far larger than `shapes`.

    Without memory, unless the file is small: without memory, arithmetic is done by torch's
    compiler, whose import takes longer than a small model takes to draw.

    Raises:
        TooLarge: it is.
    """
    small = _numbers(shapes) <= SMALL
    with _bounded(shapes), _BoundedTensors() if small else torch.device("meta"):
        return build()


def _numbers(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes.values())


class _BoundedTensors(TorchFunctionMode):
    """Refuse to make a single tensor that is larger than all of a small network may be."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in MAKERS:
            given = kwargs.get("size", args[0] if args else 0)
            sizes = given if isinstance(given, tuple | list) else args
            numbers = math.prod(n for n in sizes if isinstance(n, int))
            if name in ("arange", "linspace"):
                numbers = max((abs(n) for n in args if isinstance(n, int)), default=0)
            if numbers > FACTOR * SMALL + NUMBERS_SLACK:
                what = f"a tensor of {numbers:,} numbers"
                raise TooLarge(f"{what}: the network would be far larger than the file")
        return func(*args, **kwargs)


@contextmanager
def _bounded(shapes: dict[str, tuple[int, ...]]) -> Iterator[None]:
    """Count what modules register while the block runs."""
    stored = _numbers(shapes)
    tensors_left = FACTOR * len(shapes) + TENSORS_SLACK
    numbers_left = FACTOR * stored + NUMBERS_SLACK

    def count(module: nn.Module, name: str, tensor: Any) -> None:
        nonlocal tensors_left, numbers_left
        tensors_left -= 1
        numbers_left -= tensor.numel() if isinstance(tensor, torch.Tensor) else 0
        if tensors_left < 0 or numbers_left < 0:
            what = f"the file holds {len(shapes):,} tensors of {stored:,} numbers"
            raise TooLarge(f"{what}, the network would be far larger")

    handles = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
