"""Pickles whose payload creates a file, and files that mislead their reader.

Each function takes the path to create and returns the file's bytes.
"""

from __future__ import annotations

import copyreg
import io
import marshal
import os
import pickle
import runpy
import struct
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.models.interop.authors_files import (
    SOURCE,
    Persistent,
    authors_modules,
    parity,
    write_snapshot,
)


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.how = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.how


def dumped(value: Any, protocol: int = 4) -> bytes:
    return pickle.dumps(value, protocol=protocol)


def touch(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()"


def text(word: str) -> bytes:
    """Return the operation that pushes a word."""
    return b"\x8c" + bytes([len(word)]) + word.encode()


def script(marker: Path) -> bytes:
    path = marker.with_suffix(".py")
    path.write_text(touch(marker))
    return dumped(Call(runpy.run_path, str(path)))


def named(dotted: str) -> bytes:
    """Return the operations that push a global."""
    module, _, name = dotted.rpartition(".")
    return text(module) + text(name) + b"\x93"


def code_object(marker: Path) -> bytes:
    """Return a call of a function that is made of marshalled code."""
    code = marshal.dumps(compile(touch(marker), "payload", "exec"))
    made = named("marshal.loads") + b"B" + struct.pack("<I", len(code)) + code + b"\x85R"
    return b"\x80\x04" + named("types.FunctionType") + made + b"}\x86R)R."


def attrgetter(marker: Path) -> bytes:
    """Return os.system by way of an attribute's getter, and its call."""
    module = named("importlib.import_module") + text("os") + b"\x85R"
    getter = named("operator.attrgetter") + text("system") + b"\x85R"
    return b"\x80\x04" + getter + module + b"\x85R" + _arguments(marker) + b"R."


def getattr_chain(marker: Path) -> bytes:
    """Return os.system by way of getattr, and its call."""
    module = named("importlib.import_module") + text("os") + b"\x85R"
    got = named("builtins.getattr") + module + text("system") + b"\x86R"
    return b"\x80\x04" + got + _arguments(marker) + b"R."


def extension(marker: Path) -> bytes:
    copyreg.add_extension("os", "system", 0x7E57)
    try:
        return b"\x80\x02\x83" + struct.pack("<H", 0x7E57) + _arguments(marker) + b"R."
    finally:
        copyreg.remove_extension("os", "system", 0x7E57)


def _arguments(marker: Path) -> bytes:
    return b"(X" + struct.pack("<I", len(f"touch {marker}")) + f"touch {marker}".encode() + b"t"


def inst(marker: Path) -> bytes:
    return b"(S'touch " + str(marker).encode() + b"'\nios\nsystem\n."


def obj(marker: Path) -> bytes:
    return b"(cos\nsystem\nS'touch " + str(marker).encode() + b"'\no."


def dotted(marker: Path) -> bytes:
    """Return a listed module with a name that walks on to another."""
    walk = text("torch._utils") + text("torch.os.system") + b"\x93"
    return b"\x80\x04" + walk + _arguments(marker) + b"R."


def built(marker: Path) -> bytes:
    """Return an object whose state overwrites what it is made of."""
    state = {"__class__": Call(os.system, f"touch {marker}")}
    return dumped(Call(types.SimpleNamespace, state=state))


def object_array(marker: Path) -> bytes:
    array = np.empty(1, dtype=object)
    array[0] = Call(os.system, f"touch {marker}")
    return dumped(array)


def object_dtype(marker: Path) -> bytes:
    """Return an array of pointers: no call in it, and a crash in who believes it."""
    array = np.zeros(1, dtype=np.int64)
    return dumped(array, 2).replace(b"i8", b"O8")


def in_a_zip(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "x": Call(os.system, f"touch {marker}")}, buffer)
    return buffer.getvalue()


def in_an_old_torch_file(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(
        OrderedDict(weight=Call(os.system, f"touch {marker}")),
        buffer,
        _use_new_zipfile_serialization=False,
    )
    return buffer.getvalue()


def torch_load(marker: Path) -> bytes:
    inner = io.BytesIO(in_an_old_torch_file(marker))
    return dumped(Call(torch.load, inner))


def in_a_storage(marker: Path) -> bytes:
    """Return a hostile torch file where the bytes of a storage should stand."""
    return dumped(Call(torch.storage._load_from_bytes, in_an_old_torch_file(marker)))


def in_a_network(marker: Path, place: str) -> bytes:
    """Return a snapshot in the authors' format with a payload somewhere in it."""
    call = Call(os.system, f"touch {marker}")
    source = SOURCE.format(marker=marker) if place == "module_src" else "pass"
    with authors_modules():
        network = Persistent("Generator", source)
        if place == "state":
            network.state["hook"] = call
        if place == "_init_kwargs":
            network.state["_init_kwargs"] = {"fn": call}
        discriminator = call if place == "D" else None
        path = marker.with_suffix(".tmp")
        return write_snapshot(path, network, discriminator).read_bytes()


def packed_zip(marker: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", dumped(Call(os.system, f"touch {marker}"), 2))
        archive.writestr("archive/data/0", bytes(10_000_000))
    return buffer.getvalue()


def huge_storage(marker: Path) -> bytes:
    """Return an old torch file whose storage claims 2^62 numbers."""
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(77)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue().replace(b"KM", b"\x8a\x08" + struct.pack("<q", 2**62))


def outside(marker: Path) -> bytes:
    """Return a tensor that reaches beyond its storage."""
    storage = torch.zeros(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    far = (typed, 10**6, (4,), (1,), False, OrderedDict())
    return dumped({"w": Call(torch._utils._rebuild_tensor_v2, *far)})


def endless(marker: Path) -> bytes:
    """Return a whole generator all of whose tensors are the same bytes."""
    buffer, weights = io.BytesIO(), parity("stylegan2_generator").param
    most = torch.zeros(max(x.numel() for x in weights.values()))
    torch.save({name: most[: x.numel()].view(x.shape) for name, x in weights.items()}, buffer)
    return buffer.getvalue()


def deep_key(marker: Path) -> bytes:
    """Return a dictionary whose key is nested so deeply that its hash exhausts the C stack."""
    return b"\x80\x04}" + b")" + b"\x85" * 100_000 + b"Ns."


def doubling(marker: Path) -> bytes:
    """Return a device whose name doubles 60 times when it is written out."""
    return b"\x80\x04" + named("torch.device") + b")" + b"2\x86" * 60 + b"\x85R."


def nested(marker: Path) -> bytes:
    """Return a size nested so deeply that writing it out exhausts the stack."""
    storage = b"ctorch._utils\n_rebuild_tensor_v2\n"
    inner = io.BytesIO()
    torch.save({"w": torch.zeros(77)}, inner, _use_new_zipfile_serialization=False)
    deep = b")" + b"\x85" * 50_000
    assert storage in inner.getvalue()
    return inner.getvalue().replace(b"KM", deep)


def locked(marker: Path) -> bytes:
    """Return a zip whose members ask for a password."""
    data = bytearray(in_a_zip(marker))
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(start)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(start, at + 4)
    return bytes(data)


def cut(marker: Path) -> bytes:
    whole = in_a_network(marker, "none")
    return whole[: len(whole) // 2]


# kind -> (the file, what the error names, whether Python's own reader carries the payload out)
