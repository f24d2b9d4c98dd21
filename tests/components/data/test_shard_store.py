"""Shards in a store: the same batches as from disk, changes noticed, the cache bounded."""

import json
import shutil

import numpy as np
import pytest
import torch

from components.data import far_files, shard_store
from components.data.batches import BatchSource
from components.data.config import FilterConfig, SourceConfig
from components.data.labels import Labels
from components.data.shard_store import FILE, StoredShards, move_to_store
from components.data.shard_tables import Sample
from components.data.training_set import write_training_set
from components.errors import DataError, StorageError
from tests.components.data.makers import HashedText, encoded, picture
from tests.components.data.object_store import spoilt_store, use_store


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A training set on disk: 600 rows in three shards."""
    folder = tmp_path_factory.mktemp("set") / "train"
    rows = [Sample(f"k{i}", encoded(picture(16, i)), f"word {i % 9}", "", "") for i in range(600)]
    config = FilterConfig(resolution_px=16, shard_rows=250)
    splits = {"train": rows, "heldout": rows[:3]}
    write_training_set(
        splits, folder, config, SourceConfig(path=""), Labels.of([""]), HashedText(), {}
    )
    return folder


@pytest.fixture()
def server(tmp_path, monkeypatch):
    (tmp_path / "buckets/shards").mkdir(parents=True)
    monkeypatch.setattr(far_files, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv(shard_store.CACHE, str(tmp_path / "cache"))
    with spoilt_store(tmp_path / "buckets") as proxy:
        use_store(monkeypatch, proxy.port)
        yield proxy


def moved(plain, tmp_path, place="s3://shards/set"):
    folder = tmp_path / "moved"
    shutil.copytree(plain, folder)
    move_to_store(folder, place)
    return folder


def batches(folder, count=40, size=32):
    source = BatchSource(folder, "train", 16, seed=3)
    return [source.atom(position * size, size) for position in range(count)]


def test_batches_are_those_of_the_disk_also_where_answers_fail(plain, tmp_path, server):
    server.spoil = lambda method, path, number: "fail" if method == "PUT" and not number else ""
    folder = moved(plain, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", FILE]
    assert (folder / "manifest.json").read_bytes() == (plain / "manifest.json").read_bytes()
    server.spoil = lambda method, path, number: "fail" if method == "GET" and not number else ""
    for here, there in zip(batches(plain), batches(folder), strict=True):
        assert torch.equal(here.image_NCHW, there.image_NCHW) and here.keys == there.keys
        assert torch.equal(here.condition.ids_NT, there.condition.ids_NT)
    assert BatchSource(folder, "heldout", 16, 0).num_rows == 3
    # Each object came once, however many epochs were read: the cache holds it.
    fetched = [path for method, path, _ in server.asked if method == "GET" and "parquet" in path]
    assert max(np.unique(fetched, return_counts=True)[1]) <= 2  # one answer of each was spoilt


def test_a_change_in_the_store_is_noticed_and_a_lie_is_asked_again(plain, tmp_path, server):
    folder = moved(plain, tmp_path)
    server.spoil = lambda method, path, number: "lie" if method == "GET" and not number else ""
    assert len(batches(folder, count=2)) == 2
    server.spoil = lambda method, path, number: ""
    shutil.rmtree(tmp_path / "cache")
    for path in (tmp_path / "buckets").rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-9] + b"X" + path.read_bytes()[-8:])
    with pytest.raises(DataError, match="not the one that was written"):
        batches(folder, count=1)
    for path in (tmp_path / "buckets").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(StorageError, match="not to be had"):
        batches(folder, count=1)


def test_a_spoilt_file_of_the_cache_is_fetched_again_and_the_rest_stays_bounded(
    plain, tmp_path, monkeypatch
):
    monkeypatch.setenv(shard_store.CACHE, str(tmp_path / "cache"))
    folder = moved(plain, tmp_path, str(tmp_path / "place"))
    assert len(batches(folder, count=2)) == 2
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"spoilt")
    assert len(batches(folder, count=2)) == 2
    monkeypatch.setattr(shard_store, "_LOOKED_AFTER", 1)
    size = max(g["bytes"] for groups in told(folder).values() for g in groups)
    monkeypatch.setenv(shard_store.CACHE_GIB, str(2.5 * size / 2**30))
    shutil.rmtree(tmp_path / "cache")
    first = batches(plain, count=30)
    monkeypatch.setattr(shard_store, "_LOOKED_AFTER", 2)
    again = batches(folder, count=30)
    assert all(a.keys == b.keys for a, b in zip(first, again, strict=True))
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
    assert kept <= 4.5 * size  # the limit, and what came since it was looked at
    monkeypatch.setenv(shard_store.CACHE_GIB, "much")
    with pytest.raises(DataError, match="a number of GiB"):
        StoredShards(folder)


def told(folder):
    return json.loads((folder / FILE).read_text())["row_groups"]


def test_a_try_that_was_cut_off_sends_the_rest_alone(plain, tmp_path, server):
    first = moved(plain, tmp_path)
    server.asked.clear()
    shutil.rmtree(first)
    assert told(moved(plain, tmp_path))
    assert not [path for method, path, _ in server.asked if method in ("PUT", "POST")]


def test_a_store_that_takes_nothing_is_one_error_and_keeps_the_shards(plain, tmp_path, server):
    server.spoil = lambda method, path, number: "refuse" if method in ("PUT", "POST") else ""
    with pytest.raises(StorageError, match=r"not taken: .*tries"):
        moved(plain, tmp_path)
    assert len(list((tmp_path / "moved").glob("*.parquet"))) == 4
