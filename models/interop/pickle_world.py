"""The names that a checkpoint's pickle may use: to rebuild, or to keep as a record.

Nothing else is allowed.

A record is inert whatever its class, so the second list could be any list; it is short so that a
file which holds anything else than a network says so.
"""

from __future__ import annotations

import fnmatch
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from models.interop.pickle_machine import World
from models.interop.pickle_values import SIMPLE, Record, Refused, as_key
from models.interop.stored_tensors import (
    STORAGE_TYPES,
    TYPES,
    NumpyArray,
    NumpyType,
    numpy_scalar,
    rebuild_parameter,
    rebuild_tensor,
    rebuild_tensor_v3,
)

PERSISTENT_CLASS = "torch_utils.persistence._reconstruct_persistent_obj"
# Classes whose objects are kept as records: of torch, and of the code that a network was built by.
# A class is one capitalised word, so that no function and no attribute of a class gets through.
_RECORDS = re.compile(
    r"""argparse\.Namespace
    | dnnlib(\.util)?\.EasyDict
    | torch\.nn\.modules\.\w+\.[A-Z]\w*
    | torch\.nn\.utils\.spectral_norm\.SpectralNorm\w*
    | torchvision\.transforms\.\w+\.[A-Z]\w*
    | (training|networks|pg_modules|feature_networks|torch_utils)(\.\w+)+\.[A-Z]\w*
    | (timm|open_clip|clip)(\.\w+)+\.[A-Z]\w*
    """,
    re.VERBOSE,
)
_TOKENS = frozenset([*STORAGE_TYPES, *TYPES, "numpy.ndarray"])


def pickle_world(load_from_bytes: Callable[[Any], Any], inert: Sequence[str] = ()) -> World:
    """Return the names that a network's pickle may use.

    Args:
        load_from_bytes: reads a storage that is a torch file inside the pickle.
        inert: more names to keep as records, as patterns with `*`. They are never imported either.
    """

    def is_inert(text: str) -> bool:
        return any(fnmatch.fnmatchcase(text, pattern) for pattern in inert)

    def is_record(text: str) -> bool:
        return _RECORDS.fullmatch(text) is not None or is_inert(text)

    calls: dict[str, Callable[..., Any]] = {
        PERSISTENT_CLASS: _persistent_object,
        "collections.OrderedDict": _ordered,
        "torch._utils._rebuild_tensor": rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
        "torch._utils._rebuild_parameter": rebuild_parameter,
        "torch.storage._load_from_bytes": load_from_bytes,
        "torch.Size": _tuple,
        "torch.device": _device,
        "numpy.dtype": NumpyType,
        "_codecs.encode": _encode,
    }
    for package in ("numpy.core", "numpy._core"):
        calls[f"{package}.multiarray._reconstruct"] = NumpyArray
        calls[f"{package}.multiarray.scalar"] = numpy_scalar
    for package in ("builtins", "__builtin__"):
        calls[f"{package}.set"] = lambda members=(): set(_simple(members))
        calls[f"{package}.frozenset"] = lambda members=(): frozenset(_simple(members))
    return World(calls=calls, tokens=_TOKENS, is_record=is_record, is_inert=is_inert)


def _persistent_object(meta: Any) -> Record:
    """Return a persistent object as a record of its class; its source code is not looked at."""
    values = meta.items if type(meta) is Record else meta
    if type(values) is not dict or values.get("type") != "class":
        raise Refused(f"{PERSISTENT_CLASS} of something that is no class")
    name, state = values.get("class_name"), values.get("state")
    if type(name) is not str or type(state) is not dict:
        raise Refused(f"{PERSISTENT_CLASS} without a class name or a state")
    return Record(name, state=state)


def _device(*words: Any) -> str:
    if any(type(word) not in SIMPLE for word in words):
        raise Refused("torch.device of something that is no name")
    return ":".join(map(str, words))


def _ordered(*pairs: Any) -> OrderedDict[Any, Any]:
    """Return collections.OrderedDict(), or that of a list of pairs (Python 2's form)."""
    if not pairs:
        return OrderedDict()
    if len(pairs) != 1 or type(pairs[0]) is not list:
        raise Refused("collections.OrderedDict of something that is no list of pairs")
    return OrderedDict((as_key(key), value) for key, value in pairs[0])


def _tuple(values: Any = ()) -> tuple[Any, ...]:
    if type(values) not in (tuple, list):
        raise Refused("torch.Size of something that is no tuple")
    return tuple(values)


def _simple(members: Any) -> list[Any]:
    if type(members) not in (tuple, list) or any(type(x) not in SIMPLE for x in members):
        raise Refused("a set of something else than words and numbers")
    return [as_key(member) for member in members]


def _encode(text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    """Return bytes that an old protocol wrote as text."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused("_codecs.encode with another encoding than latin1")
    return text.encode("latin-1")
