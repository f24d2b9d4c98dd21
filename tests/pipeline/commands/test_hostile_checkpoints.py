"""Pickles that would run something are refused by name, and nothing of them runs.

Every payload creates a file. Kinds that Python's own reader would carry out are shown to do so
first, so that the test proves the refusal and not a blunt payload.
"""

from __future__ import annotations

import codecs
import functools
import importlib
import operator
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.commands.import_model import main
from tests.pipeline.commands.hostile_files import (
    Call,
    attrgetter,
    built,
    code_object,
    cut,
    deep_key,
    dotted,
    doubling,
    dumped,
    endless,
    extension,
    getattr_chain,
    huge_storage,
    in_a_network,
    in_a_storage,
    in_a_zip,
    in_an_old_torch_file,
    inst,
    locked,
    nested,
    obj,
    object_array,
    object_dtype,
    outside,
    packed_zip,
    script,
    text,
    torch_load,
    touch,
)

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
    "doubling name": (doubling, "torch.device of something", False),
    "nested size": (nested, "a size of tuple", False),
    "locked zip": (locked, "a zip that torch.save did not write", False),
    "cut": (cut, "no whole pickle", False),
    "garbage": (lambda m: bytes(range(256)) * 4, "no whole pickle", False),
    "empty": (lambda m: b"", "an empty file", False),
}


@pytest.mark.row("D3")
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


@pytest.mark.row("D3")
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


ESCAPES = "\x1b[2J\x1b]0;pwned\x07"


@pytest.mark.row("G18")
@pytest.mark.parametrize("name", ["evil.pkl", "evil.safetensors"])
def test_what_a_terminal_would_obey_is_shown_escaped(tmp_path: Path, capsys, name: str) -> None:
    """A name in a pickle, or of a tensor, that clears the screen and sets the window's title."""
    file = tmp_path / name
    if file.suffix == ".pkl":
        file.write_bytes(b"\x80\x02c" + ESCAPES.encode() + b"os\nsystem\n.")
    else:
        save_file({f"{ESCAPES}evil\nline": torch.ones(2)}, file)
    assert main([str(file), "--out", str(tmp_path / "out")]) == 5
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == "" and line.isprintable() and "\\x1b[2J" in line
