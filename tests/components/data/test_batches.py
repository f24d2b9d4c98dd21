import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from components.data.batches import BatchSource, as_images
from components.data.shards import file_sha256, write_manifest
from components.errors import DataError
from tests.components.data.makers import HashedText, write_numbered_set

ROWS = 2_300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("train")
    write_numbered_set(out, ROWS)
    return out


@pytest.fixture()
def small_windows(monkeypatch, folder):
    """A source whose windows are small, so that atoms cross them often."""

    def make(seed=0, split="train", resolution=16):
        source = BatchSource(folder, split, resolution, seed)
        source._window_rows = 300
        return source

    return make


def same(a, b):
    assert a.keys == b.keys and a.captions == b.captions and a.size == b.size
    assert torch.equal(a.image_NCHW, b.image_NCHW)
    assert torch.equal(a.condition.pooled_ND, b.condition.pooled_ND)
    assert torch.equal(a.condition.ids_NT, b.condition.ids_NT)
    assert torch.equal(a.condition.label_N, b.condition.label_N)


def keys_of(source, start, stop, step=97):
    return [
        k for at in range(start, stop, step) for k in source.atom(at, min(step, stop - at)).keys
    ]


def test_every_sample_carries_its_own_image_caption_embedding_and_label(small_windows):
    batch = small_windows().atom(ROWS - 100, 200)
    for row, key in enumerate(batch.keys):
        number = int(key[1:])
        want = np.array([number // 256, number % 256, 7]) / 127.5 - 1
        found = batch.image_NCHW[row]
        assert torch.equal(found, found[:, :1, :1].expand_as(found))
        assert np.abs(found[:, 0, 0].numpy() - want).max() < 1e-6
        assert batch.captions[row] == f"caption {number}"
        text = HashedText()([batch.captions[row]])[0].astype(np.float32)
        assert (batch.condition.pooled_ND[row].numpy() == text).all()
        assert batch.condition.label_N[row] == number % 3
    assert batch.image_NCHW.dtype == torch.float32 and batch.image_NCHW.is_contiguous()


@pytest.mark.row("B23")
def test_each_epoch_holds_every_row_exactly_once(small_windows):
    source = small_windows()
    for epoch in range(3):
        keys = keys_of(source, epoch * ROWS, (epoch + 1) * ROWS)
        assert Counter(keys) == Counter(f"k{i}" for i in range(ROWS))


def test_epochs_and_seeds_differ_and_the_order_is_mixed(small_windows):
    first = keys_of(small_windows(), 0, 2 * ROWS)
    assert first[:ROWS] != first[ROWS:]
    assert first != keys_of(small_windows(seed=1), 0, 2 * ROWS)
    numbers = np.array([int(k[1:]) for k in first[:ROWS]])
    assert abs(np.corrcoef(numbers, np.arange(ROWS))[0, 1]) < 0.5
    assert len({n // 128 for n in numbers[:50].tolist()}) >= 2  # a window mixes row groups
    assert (np.diff(numbers) == 1).mean() < 0.02


def test_one_atom_equals_its_two_halves(small_windows):
    whole, halves = small_windows(), small_windows()
    for at in (0, 290, ROWS - 8, 5 * ROWS + 299):
        one, a, b = whole.atom(at, 16), halves.atom(at, 8), halves.atom(at + 8, 8)
        assert one.keys == a.keys + b.keys
        assert torch.equal(one.image_NCHW, torch.cat([a.image_NCHW, b.image_NCHW]))


@pytest.mark.row("B23")
def test_seeking_gives_what_streaming_gives(small_windows):
    stream = small_windows()
    places = [(at, 64) for at in range(0, 3 * ROWS, 64)]
    streamed = {place: stream.atom(*place) for place in places}
    rng = np.random.default_rng(0)
    for number in rng.permutation(len(places))[:25]:
        same(small_windows().atom(*places[number]), streamed[places[number]])


def test_an_atom_may_hold_more_than_an_epoch(small_windows):
    batch = small_windows(split="heldout").atom(3, 12)
    assert Counter(batch.keys[2:7]) == Counter(f"k{ROWS + i}" for i in range(5))
    assert batch.size == 12


def test_first_rows_are_in_stored_order(small_windows):
    assert small_windows().first(800).keys == tuple(f"k{i}" for i in range(800))
    assert small_windows(split="heldout").first(99).size == 5


def test_smaller_images_are_means_of_areas(small_windows):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8))
    full = as_images(pixels, 16)
    assert full.min() >= -1 and full.max() <= 1
    assert torch.equal(full, pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert torch.allclose(as_images(pixels, 4), F.avg_pool2d(full, 4), atol=1e-6)
    assert small_windows(resolution=4).atom(0, 3).image_NCHW.shape == (3, 3, 4, 4)


def test_shape_and_hash_come_from_the_manifest(folder, small_windows):
    source = small_windows()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert source.num_rows == ROWS and source.content_hash == manifest["content_hash"]
    assert (source.shape.pooled_dim, source.shape.num_labels) == (8, 3)


def test_memory_holds_few_windows_and_files(small_windows):
    source = small_windows()
    keys_of(source, 0, ROWS)
    assert len(source._windows) <= 2 and len(source._open_files) <= 16


def test_errors_say_what_to_do(tmp_path, folder):
    with pytest.raises(DataError, match="32 px wanted, images are stored at 16"):
        BatchSource(folder, "train", 32, 0)
    write_numbered_set(tmp_path, 0)
    with pytest.raises(DataError, match="no rows"):
        BatchSource(tmp_path, "train", 16, 0).atom(0, 1)
    (tmp_path / "train-00000.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="unreadable shard"):
        BatchSource(tmp_path, "train", 16, 0)


def test_token_ids_come_with_the_rows_and_are_asked_for(folder, tmp_path):
    batch = BatchSource(folder, "heldout", 16, 0).first(3)
    assert batch.condition.ids_NT.dtype == torch.int64
    assert torch.equal(batch.condition.ids_NT, torch.tensor(HashedText().ids(batch.captions)))
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("train", "heldout"):
        for shard in manifest["splits"][name]["shards"]:
            table = pq.read_table(folder / shard["file"]).drop_columns("token_ids")
            pq.write_table(table, tmp_path / shard["file"])
            shard["sha256"] = file_sha256(tmp_path / shard["file"])
    write_manifest(tmp_path, {n: value for n, value in manifest.items() if n != "content_hash"})
    with pytest.raises(DataError, match=r"without token_ids.*filter again"):
        BatchSource(tmp_path, "heldout", 16, 0).first(3)


@pytest.mark.row("G11")
def test_a_flipped_bit_in_a_shard_stops_the_reading_at_its_first_rows(tmp_path):
    """Parquet has no checks of its own here: without ours the weights would just be others."""
    write_numbered_set(tmp_path, 900)
    source = BatchSource(tmp_path, "train", 16, 0)
    path = tmp_path / "train-00001.parquet"
    content = bytearray(path.read_bytes())
    content[content.index(b"IEND") + 4] ^= 1  # a checksum that no reader of pictures minds
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged.*train-00001.parquet.*run the stage"):
        for at in range(0, 900, 100):
            source.atom(at, 100)
    assert len(BatchSource(tmp_path, "heldout", 16, 0).first(3).keys) == 3


def test_a_manifest_of_another_kind_is_one_line(tmp_path):
    for facts in ({}, {"splits": {}}):
        write_manifest(tmp_path, facts)
        with pytest.raises(DataError, match="the manifest lacks"):
            BatchSource(tmp_path, "train", 16, 0)
