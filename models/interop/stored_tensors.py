"""Tensors and arrays as a checkpoint describes them, checked against the bytes in the file.

A description costs nothing, so a file may claim any size. Nothing is allocated before the claim has
been held against the stored bytes, and nothing is read before somebody asks for the tensor.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.interop.pickle_values import Buildable, Refused, shown

AXES_LIMIT = 8
STORAGE_TYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.storage.UntypedStorage": torch.uint8,
}
TYPES = {str(dtype): dtype for dtype in STORAGE_TYPES.values()}
# Numbers only: numpy's other types can hold pointers.
_NUMPY_TYPE = re.compile(r"b1|[iu][1248]|f[248]")


class Storage:
    """The bytes of one or more tensors.

    Args:
        dtype: of its elements.
        count: how many it claims.
    """

    def __init__(self, dtype: torch.dtype, count: int) -> None:
        self.dtype, self.count = dtype, _size(count)
        self._read: Callable[[], Any] | None = None

    @property
    def num_bytes(self) -> int:
        """Return the bytes that it claims."""
        return self.count * self.dtype.itemsize

    def fill(self, num_bytes: int, read: Callable[[], Any]) -> None:
        """Say where the bytes are; `read` gives `num_bytes` of them when asked.

        Raises:
            Refused: they are not as many as claimed.
        """
        if num_bytes != self.num_bytes:
            raise Refused(f"a storage of {self.num_bytes:,} bytes where {num_bytes:,} are stored")
        self._read = read

    def bytes(self) -> bytearray:
        """Return a copy of the bytes."""
        if self._read is None:
            raise Refused("a storage without bytes")
        return bytearray(self._read())


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A view of a storage: offset and strides in elements."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Return the bytes of the tensor itself."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self) -> Tensor:
        """Return the tensor, with memory of its own."""
        data = self.storage.bytes()
        if not prod(self.shape):
            return torch.empty(self.shape, dtype=self.dtype)
        count = self.storage.num_bytes // self.dtype.itemsize
        flat = torch.frombuffer(data, dtype=self.dtype, count=count)
        return flat.as_strided(self.shape, self.stride, self.offset).clone(
            memory_format=torch.contiguous_format
        )


def rebuild_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, *_: Any, dtype: torch.dtype | None = None
) -> StoredTensor:
    """Return the tensor that torch's `_rebuild_tensor` and `_rebuild_tensor_v2` describe.

    The arguments behind the stride (gradient wanted, hooks, metadata) do not matter to a value.

    Raises:
        Refused: no storage, or places outside it.
    """
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    if type(shape) is not tuple or type(stride) is not tuple or len(shape) != len(stride):
        raise Refused("a tensor whose shape and strides do not go together")
    if len(shape) > AXES_LIMIT:
        raise Refused(f"a tensor of {len(shape)} axes")
    dtype = dtype or storage.dtype
    sizes, steps = tuple(map(_size, shape)), tuple(map(_size, stride))
    count = storage.num_bytes // dtype.itemsize
    last = _size(offset) + sum((n - 1) * step for n, step in zip(sizes, steps, strict=True))
    if prod(sizes) and (last >= count or prod(sizes) > count):
        raise Refused(f"a tensor of {list(sizes[:4])} that reaches beyond its {count:,} elements")
    return StoredTensor(storage, dtype, offset, sizes, steps)


def rebuild_tensor_v3(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> StoredTensor:
    """Return the tensor of a storage without a type, whose type is told beside it."""
    text = getattr(dtype, "text", "")
    if text not in TYPES:
        raise Refused(f"a tensor of type {text or 'unknown'}")
    return rebuild_tensor(storage, offset, shape, stride, dtype=TYPES[text])


def rebuild_parameter(data: Any, *_: Any) -> StoredTensor:
    """Return a parameter's tensor."""
    if not isinstance(data, StoredTensor):
        raise Refused("a parameter without a tensor")
    return data


class NumpyType(Buildable):
    """numpy.dtype(code, align, copy), of numbers only; the byte order comes with the state."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        if type(code) is not str or not _NUMPY_TYPE.fullmatch(code.lstrip("<>=|")):
            raise Refused(f"numpy.dtype {shown(code)!r}")
        self.code = "=" + code.lstrip("<>=|")

    def complete(self, state: Any) -> None:
        """Take the byte order; fields and shapes of structured types do not pass."""
        if type(state) is not tuple or len(state) < 5 or state[2:5] != (None, None, None):
            raise Refused("numpy.dtype of a structure")
        if state[1] in ("<", ">"):
            self.code = state[1] + self.code[1:]


class NumpyArray(Buildable):
    """An array of numbers, once its state has come; `value` is None before that."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def complete(self, state: Any) -> None:
        """Take (version, shape, dtype, is Fortran's order, bytes)."""
        if type(state) is not tuple or len(state) != 5:
            raise Refused("numpy.ndarray with a strange state")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, NumpyType):
            raise Refused("numpy.ndarray of unknown type")
        if type(shape) is not tuple or len(shape) > AXES_LIMIT or type(data) is not bytes:
            raise Refused("numpy.ndarray that is not stored as bytes")
        sizes, kind = tuple(map(_size, shape)), np.dtype(dtype.code)
        if prod(sizes) * kind.itemsize != len(data):
            raise Refused(f"numpy.ndarray of {list(sizes[:4])} in {len(data):,} bytes")
        self.value = np.frombuffer(data, kind).reshape(sizes, order="F" if fortran else "C")


def numpy_scalar(dtype: Any, data: Any) -> float | int | bool:
    """Return a number of numpy's as one of Python's."""
    if not isinstance(dtype, NumpyType) or type(data) is not bytes:
        raise Refused("a scalar of numpy's that is no number")
    kind = np.dtype(dtype.code)
    if len(data) != kind.itemsize:
        raise Refused(f"a scalar of numpy's in {len(data)} bytes")
    number: float | int | bool = np.frombuffer(data, kind)[0].item()
    return number


def _size(value: Any) -> int:
    """Return a whole number that is not negative."""
    if type(value) is not int or not 0 <= value < 2**48:
        raise Refused(f"a size of {shown(value)}")
    return value
