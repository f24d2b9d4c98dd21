"""States in a store: the newest whole one is found there, whatever lies on the disk here."""

import json

import pytest
import torch

from components.data.far_files import place_of
from components.data.far_objects import names_in, read_object, write_object
from components.errors import ResourceError, StorageError
from components.training.far_states import FarStateStore
from components.training.store import StateStore


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(tmp_path, said):
    """Make the store of a run as one machine sees it."""

    def on(machine, **options):
        place = place_of(f"file://{tmp_path}/there")
        options = {"keep": 2, "fingerprint": "f", "say": said.append, **options}
        folder = tmp_path / machine / "states"
        return FarStateStore(folder=folder, place=place, **{"before": lambda: None, **options})

    return on


def save(store, nimg, value=None):
    tensors = {"a": torch.full((50,), float(nimg if value is None else value))}
    return store.save(tensors, {"nimg": nimg})


def lists(store):
    return [name for name in names_in(store.place) if name.endswith(".json")]


def test_another_machine_goes_on_from_the_newest_and_two_are_kept(store):
    for nimg in (8, 16, 24):
        assert save(store("one"), nimg)
    other = store("other")
    assert lists(other) == ["nimg-000000000016.json", "nimg-000000000024.json"]
    assert len(names_in(other.place)) == 2 + 2 * 3  # and their files alone
    saved = other.newest()
    assert saved.facts["nimg"] == 24 and torch.equal(saved.tensors["a"], torch.full((50,), 24.0))
    assert other.last_name() == "nimg-000000000024"
    other.drop_newest()
    assert other.last_name() == "nimg-000000000016" and other.newest().facts["nimg"] == 16
    other.drop_newest()  # the only one stays
    assert store("third").newest().facts["nimg"] == 16


def test_nothing_there_is_none_whatever_lies_here(store, tmp_path):
    alone = StateStore(folder=tmp_path / "one/states", fingerprint="f")
    save(alone, 8)
    assert store("one").newest() is None and store("one").last_name() == "none"


def test_a_state_here_of_another_time_is_replaced_by_the_one_there(store, tmp_path):
    save(store("one"), 8)
    save(store("one"), 16)
    stale = StateStore(folder=tmp_path / "two/states", fingerprint="f")
    save(stale, 16, value=-1)  # before the run took another way
    save(stale, 24, value=-1)
    saved = store("two").newest()
    assert saved.facts["nimg"] == 16 and torch.equal(saved.tensors["a"], torch.full((50,), 16.0))


def test_a_state_that_was_cut_off_while_sending_is_never_taken(store):
    one = store("one")
    save(one, 8)
    listed = read_object(one.place / "nimg-000000000008.json")
    write_object(one.place / ("ab" * 32), b"half of a state")
    write_object(one.place / "nimg-000000000016.json", listed[: len(listed) // 2])
    assert store("two").newest().facts["nimg"] == 8
    assert "ab" * 32 not in names_in(one.place)


@pytest.mark.row("A6")
@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_damaged_state_falls_back_to_the_one_before(store, said, damage, tmp_path):
    one = store("one")
    save(one, 8)
    save(one, 16)
    files = json.loads(read_object(one.place / "nimg-000000000016.json"))["files"]
    path = tmp_path / "there" / files["tensors.safetensors"]["sha256"]
    content = path.read_bytes()
    path.unlink()
    if damage == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StorageError, match="no-fallback was given"):
        store("two", fallback=False).newest()
    assert store("two").newest().facts["nimg"] == 8
    assert len(said) == 1 and "nimg-000000000016 is damaged" in said[0]
    assert "nimg-000000000016.json.damaged" in names_in(one.place)
    assert save(store("two"), 16) and store("three").newest().facts["nimg"] == 16


def test_a_store_that_takes_nothing_ends_the_run_after_three_states(store, said):
    down = []

    def before():
        if down:
            raise StorageError("not taken: no answer (5 tries)", "s3://b/x", "check the address")

    one = store("one", before=before)
    assert save(one, 8)
    down.append(True)
    assert not save(one, 16) and not save(one, 24)
    assert "not saved (not taken" in said[0] and "nimg-000000000008 stays the newest" in said[0]
    with pytest.raises(ResourceError, match=r"mend the store.*continues from nimg-000000000008"):
        save(one, 32)
    down.clear()
    assert store("two").newest().facts["nimg"] == 8
    assert save(one, 40) and store("two").newest().facts["nimg"] == 40
