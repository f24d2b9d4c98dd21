"""States on disk: whole or absent, verified, falling back, bounded in number."""

import dataclasses
import errno
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components import durable_files
from components.errors import ResourceError, StorageError
from components.training import store as store_module
from components.training.store import StateStore


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(tmp_path, said):
    return StateStore(folder=tmp_path / "states", keep=2, fingerprint="f", say=said.append)


def save(store, nimg):
    tensors = {"a": torch.full((50,), float(nimg)), "step": torch.tensor(3.0)}
    return store.save(tensors, {"nimg": nimg})


def names(store):
    return sorted(p.name for p in store.folder.iterdir())


def test_saves_and_loads_the_newest_and_keeps_the_last_two(store):
    for nimg in (8, 16, 24):
        assert save(store, nimg)
    assert names(store) == ["newest.json", "nimg-000000000016", "nimg-000000000024"]
    assert json.loads((store.folder / "newest.json").read_text()) == {"state": "nimg-000000000024"}
    saved = store.newest()
    assert saved.facts["nimg"] == 24 and saved.name == "nimg-000000000024"
    assert torch.equal(saved.tensors["a"], torch.full((50,), 24.0))
    assert saved.tensors["step"].shape == ()


def test_nothing_saved_is_none(store):
    assert store.newest() is None and store.last_name() == "none"


@pytest.mark.row("A6")
@pytest.mark.parametrize("file", ["tensors.safetensors", "facts.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "zero", "delete"])
def test_a_damaged_state_falls_back_to_the_one_before(store, said, file, damage):
    save(store, 8)
    save(store, 16)
    path = store.folder / "nimg-000000000016" / file
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[:-1])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "zero":
        path.write_bytes(b"")
    else:
        path.unlink()
    saved = store.newest()
    assert saved.facts["nimg"] == 8 and torch.equal(saved.tensors["a"], torch.full((50,), 8.0))
    assert len(said) == 1 and "nimg-000000000016 is damaged" in said[0]
    assert save(store, 16) and store.newest().facts["nimg"] == 16


@pytest.mark.row("A6")
def test_every_state_damaged_is_none_and_told(store, said):
    save(store, 8)
    (store.folder / "nimg-000000000008" / "facts.json").write_text("{}")
    assert store.newest() is None and len(said) == 1


@pytest.mark.row("A4")
def test_a_folder_half_written_by_a_killed_process_is_cleaned(store):
    save(store, 8)
    leftover = store.folder / "nimg-000000000016.tmp"
    leftover.mkdir()
    (leftover / "tensors.safetensors").write_bytes(b"half")
    assert store.newest().facts["nimg"] == 8
    assert not leftover.exists()


@pytest.mark.row("A10")
def test_another_fingerprint_is_refused_and_another_code_version_told(store, said, tmp_path):
    save(store, 8)
    other = StateStore(folder=store.folder, fingerprint="g", say=said.append)
    with pytest.raises(StorageError, match="fingerprint f, the run has g"):
        other.newest()
    newer = StateStore(folder=store.folder, fingerprint="f", code_version="2", say=said.append)
    assert newer.newest().facts["nimg"] == 8
    assert "code unknown" in said[-1] and "continuing with 2" in said[-1]


@pytest.mark.row("A5")
def test_a_full_disk_keeps_the_last_state_and_ends_the_run_after_three(store, said, monkeypatch):
    save(store, 8)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "save_file", full)
    assert not save(store, 16) and not save(store, 24)
    assert names(store) == ["newest.json", "nimg-000000000008"]
    with pytest.raises(ResourceError, match="3 saves in a row failed") as caught:
        save(store, 32)
    assert caught.value.exit_code == 6 and "nimg-000000000008" in str(caught.value)
    monkeypatch.undo()
    assert store.newest().facts["nimg"] == 8
    assert "No space left" in said[0]


def test_a_save_that_succeeds_in_between_clears_the_count(store, monkeypatch):
    real = store_module.save_file
    for nimg, broken in [(8, True), (16, True), (24, False), (32, True), (40, True)]:

        def write(*arguments, broken=broken):
            if broken:
                raise OSError(errno.EIO, "io")
            real(*arguments)

        monkeypatch.setattr(store_module, "save_file", write)
        assert save(store, nimg) is not broken
    assert store.newest().facts["nimg"] == 24


@pytest.mark.row("A5")
def test_preflight_refuses_a_disk_too_small(store, monkeypatch):
    tensors = {"a": torch.zeros(1000)}
    store.preflight(tensors)
    usage = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match="free disk space"):
        store.preflight(tensors)


LIMITED = """
import resource, sys, torch
from pathlib import Path
from components.training.store import StateStore
store = StateStore(folder=Path(sys.argv[1]))
assert store.save({"a": torch.zeros(10)}, {"nimg": 8})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
assert not store.save({"a": torch.zeros(100_000)}, {"nimg": 16})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
assert store.newest().facts["nimg"] == 8
print("fine")
"""


@pytest.mark.row("A5")
@pytest.mark.slow
def test_a_write_that_the_system_really_refuses_leaves_the_old_state(tmp_path):
    assert resource.RLIMIT_FSIZE
    root = Path(durable_files.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "states")],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip().endswith("fine"), done.stderr


@pytest.mark.row("A6")
def test_without_fallback_a_damaged_state_is_refused_and_kept(store, said):
    save(store, 8)
    save(store, 16)
    path = store.folder / "nimg-000000000016" / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    before = names(store)
    strict = dataclasses.replace(store, fallback=False)
    with pytest.raises(StorageError, match=r"nimg-000000000016 is damaged .*--no-fallback"):
        strict.newest()
    assert names(store) == before and said == []
    assert store.newest().facts["nimg"] == 8


@pytest.mark.row("A6")
def test_every_state_is_examined_and_none_is_changed(store):
    assert store.examine() == []
    for nimg in (8, 16, 24):
        save(store, nimg)
    path = store.folder / "nimg-000000000024" / "facts.json"
    path.write_text("[" * 100_000)
    (store.folder / "nimg-000000000032.tmp").mkdir()
    before = names(store)
    found = store.examine()
    assert [(s["nimg"], bool(s["problem"]), s["aside"]) for s in found] == [
        (16, False, False),
        (24, True, False),
    ]
    assert found[0]["bytes"] > 200 and "facts.json" in found[1]["problem"]
    assert names(store) == before
    store.newest()
    assert [(s["name"][-10:], s["aside"]) for s in store.examine()][1] == ("24.damaged", True)
