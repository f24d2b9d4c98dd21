"""Pickles that would run something are refused by name, and nothing of them runs.

Every payload creates a file. Kinds that Python's own reader would carry out are shown to do so
first, so that the test proves the refusal and not a blunt payload.
"""

from __future__ import annotations

import codecs
import copyreg
import functools
import importlib
import io
import marshal
import operator
import os
import pickle
import runpy
import shutil
import struct
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.import_model import main
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


def cut(marker: Path) -> bytes:
    whole = in_a_network(marker, "none")
    return whole[: len(whole) // 2]


# kind -> (the file, what the error names, whether Python's own reader carries the payload out)
KINDS: dict[str, tuple[Callable[[Path], bytes], str, bool]] = {
    "os.system": (lambda m: dumped(Call(os.system, f"touch {m}")), "posix.system", True),
    "protocol 0": (lambda m: dumped(Call(os.system, f"touch {m}"), 0), "posix.system", True),
    "subprocess": (
        lambda m: dumped(Call(subprocess.call, ["touch", str(m)])),
        "subprocess.call",
        True,
    ),
    "eval": (lambda m: dumped(Call(eval, touch(m))), "builtins.eval", True),
    "exec": (lambda m: dumped(Call(exec, touch(m)), 2), "__builtin__.exec", True),
    "open": (lambda m: dumped(Call(open, str(m), "w")), "open", True),
    "getattr chain": (getattr_chain, "builtins.getattr", True),
    "partial": (
        lambda m: dumped({"G_ema": functools.partial(os.system, f"touch {m}")}),
        "functools.partial",
        False,
    ),
    "attrgetter": (attrgetter, "operator.attrgetter", True),
    "methodcaller": (
        lambda m: dumped(Call(operator.methodcaller("touch"), m)),
        "operator.methodcaller",
        True,
    ),
    "runpy": (script, "runpy.run_path", True),
    "importlib": (
        lambda m: dumped(Call(importlib.import_module, "antigravity_of_" + m.stem)),
        "importlib.import_module",
        False,
    ),
    "code object": (code_object, "types.FunctionType", True),
    "types.CodeType": (
        lambda m: b"\x80\x04" + text("types") + text("CodeType") + b"\x93)R.",
        "types.CodeType",
        False,
    ),
    "copyreg": (
        lambda m: b"ccopyreg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.",
        "copyreg._reconstructor",
        False,
    ),
    "shutil": (lambda m: dumped(Call(shutil.copyfile, sys.executable, str(m))), "shutil", True),
    "extension code": (extension, "an extension code 32343", False),
    "INST": (inst, "os.system", True),
    "OBJ": (obj, "os.system", True),
    "dotted name": (dotted, "torch._utils.torch.os.system", True),
    "BUILD": (built, "types.SimpleNamespace", False),
    "persistent id": (
        lambda m: b"\x80\x04" + text("evil") + b"Q.",
        "a persistent id",
        False,
    ),
    "codecs": (
        lambda m: dumped(Call(codecs.decode, b"x", "rot13")),
        "_codecs.decode",
        False,
    ),
    "object array": (object_array, "numpy.dtype 'O8'", True),
    "object dtype": (object_dtype, "numpy.dtype 'O8'", False),
    "torch.load": (torch_load, "torch.serialization.load", False),
    "zip": (in_a_zip, "posix.system", False),
    "old torch file": (in_an_old_torch_file, "posix.system", False),
    "inside a storage": (in_a_storage, "posix.system", False),
    "inside the state": (lambda m: in_a_network(m, "state"), "posix.system", False),
    "inside the arguments": (lambda m: in_a_network(m, "_init_kwargs"), "posix.system", False),
    "as the discriminator": (lambda m: in_a_network(m, "D"), "posix.system", False),
    "inside module_src": (lambda m: in_a_network(m, "module_src"), "Generator without", False),
    "packed zip": (packed_zip, "a compressed member archive/data.pkl", False),
    "huge storage": (huge_storage, "a size of 4611686018427387904", False),
    "outside its storage": (outside, "a tensor of [4] that reaches beyond", False),
    "shared bytes": (endless, "share the same bytes", False),
    "deep key": (deep_key, "a tuple as a key", False),
    "cut": (cut, "no whole pickle", False),
    "garbage": (lambda m: bytes(range(256)) * 4, "no whole pickle", False),
    "empty": (lambda m: b"", "an empty file", False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_refused_by_name_and_nothing_runs(kind: str, tmp_path: Path, capsys) -> None:
    make, named, works = KINDS[kind]
    marker, file, out = tmp_path / "marker", tmp_path / "evil.pkl", tmp_path / "out"
    file.write_bytes(make(marker))
    if works:
        pickle.loads(file.read_bytes())
        assert marker.exists(), "the payload does nothing, so refusing it proves nothing"
        marker.unlink()
    before = set(tmp_path.iterdir())
    assert main([str(file), "--out", str(out)]) == 5
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == ""
    assert line.startswith("error: ")
    assert named in line
    assert set(tmp_path.iterdir()) == before, "nothing was created"


def test_the_same_in_a_process_of_its_own(tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "evil.pkl"
    file.write_bytes(dumped({"G_ema": Call(os.system, f"touch {marker}")}))
    words = ["-m", "pipeline.cli", "import", str(file), "--out", str(tmp_path / "out")]
    result = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 5
    assert result.stderr.startswith("error: refused posix.system")
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pkl"]


def test_a_name_that_the_user_lets_through_is_still_not_run(tmp_path: Path, capsys) -> None:
    """`--inert` keeps a record of it; the network around it has no tensors, and says so."""
    marker, file = tmp_path / "marker", tmp_path / "evil.pkl"
    file.write_bytes(in_a_network(marker, "state"))
    words = [str(file), "--out", str(tmp_path / "out"), "--inert", "posix.*"]
    assert main(words) == 5
    assert "Generator without tensors" in capsys.readouterr().err
    assert not marker.exists()
