import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.data.batches import BatchSource
from components.data.config import FilterConfig, ScoreConfig, SourceConfig
from components.data.decode import centre_square
from components.data.labels import Labels
from components.data.origins import Origin
from components.data.score_files import ScoreFiles
from components.data.score_parts import score_source
from components.data.shards import ShardWriter, read_manifest
from components.data.sources import ImageReader
from components.data.training_set import (
    KeptSamples,
    Sample,
    heldout_samples,
    rows_per_group,
    write_training_set,
)
from components.errors import DataError
from tests.components.data.makers import (
    FlatNet,
    HashedText,
    encoded,
    picture,
    read_back,
    sample_members,
    write_numbered_set,
    write_plain_tar,
)

SOURCE = SourceConfig(path="")


@pytest.fixture()
def scored(tmp_path):
    folder = tmp_path / "src"
    members = [m for i in range(6) for m in sample_members(f"k{i}", i, f"caption {i}")]
    write_plain_tar(folder / "a.tar", members)
    places = tmp_path / "work", tmp_path / "scores"
    config = ScoreConfig(batch=4)
    score_source([Origin(SOURCE, folder)], folder, config, *places, net=FlatNet())
    return folder, ScoreFiles.of(sorted((tmp_path / "scores").glob("*.parquet")))


def write(scored, out, keep, heldout=None, side=16, shard_rows=2, work=None):
    folder, scores = scored
    splits = {
        "train": KeptSamples(scores, keep, [Origin(SOURCE, folder)]),
        "heldout": heldout or iter([]),
    }
    config = FilterConfig(resolution_px=side, shard_rows=shard_rows)
    labels = Labels.of([""])
    return write_training_set(splits, out, config, SOURCE, labels, HashedText(), {"x": 1}, work)


def test_rows_are_the_kept_samples_resized_once(scored, tmp_path):
    keep = np.array([True, False, True, True, False, True])
    write(scored, tmp_path / "out", keep)
    table = read_back(tmp_path / "out", "train")
    assert table["key"].to_pylist() == ["k0", "k2", "k3", "k5"]
    for row in table.to_pylist():
        number = int(row["key"][1:])
        image = Image.open(io.BytesIO(row["image"]))
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 16))
        assert (np.asarray(image) == centre_square(picture(seed=number), 16)).all()
        assert row["caption"] == f"caption {number}"
        assert row["text_embedding"] == HashedText()([row["caption"]])[0].tolist()
        assert row["label"] == -1
    kinds = {f.name: str(f.type) for f in table.schema}
    assert kinds == {
        "key": "string",
        "image": "binary",
        "caption": "string",
        "text_embedding": "fixed_size_list<element: halffloat>[8]",
        "token_ids": "fixed_size_list<element: int32>[4]",
        "label": "int32",
        "group": "string",
    }


@pytest.mark.parametrize(("kind", "quality"), [("jpeg", 90), ("webp", 90), ("jpeg", 30)])
def test_images_may_be_stored_with_some_loss(scored, tmp_path, kind, quality):
    folder, scores = scored
    keep = np.array([True, True, False, False, True, True])
    config = FilterConfig(resolution_px=32, format=kind, quality=quality)
    hashes = []
    for place in ("one", "two"):
        splits = {"train": KeptSamples(scores, keep, [Origin(SOURCE, folder)]), "heldout": iter([])}
        facts = (tmp_path / place, config, SOURCE, Labels.of([""]), HashedText(), {})
        hashes.append(write_training_set(splits, *facts))
    assert hashes[0] == hashes[1]
    batch = BatchSource(tmp_path / "one", "train", 32, 0).first(9)
    for row, stored in enumerate(read_back(tmp_path / "one", "train").to_pylist()):
        assert Image.open(io.BytesIO(stored["image"])).format == kind.upper()
        want = centre_square(picture(seed=int(stored["key"][1:])), 32) / 127.5 - 1
        gap = np.abs(batch.image_NCHW[row].permute(1, 2, 0).numpy() - want).mean() * 127.5
        assert 0 < gap < (6 if quality > 50 else 12)


def test_manifest_names_every_shard_by_hash(scored, tmp_path):
    out = tmp_path / "out"
    content_hash = write(scored, out, np.ones(6, bool))
    manifest = read_manifest(out)
    assert manifest["content_hash"] == content_hash and manifest["x"] == 1
    assert manifest["splits"]["train"]["rows"] == 6
    assert manifest["splits"]["heldout"]["rows"] == 0
    assert [manifest[k] for k in ("resolution_px", "embedding_dim", "num_labels")] == [16, 8, 0]
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            data = (out / shard["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == shard["sha256"]
            assert pq.ParquetFile(out / shard["file"]).metadata.num_rows == shard["rows"]
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert write(scored, out, np.ones(6, bool)) == content_hash
    assert first == {path.name: path.read_bytes() for path in out.iterdir()}
    assert write(scored, out, np.array([True] * 5 + [False])) != content_hash


def test_a_source_that_changed_is_an_error(scored, tmp_path):
    folder, _ = scored
    data = bytearray((folder / "a.tar").read_bytes())
    data[512:600] = bytes(88)
    (folder / "a.tar").write_bytes(data)
    with pytest.raises(DataError, match=r"k0 was readable.*score again"):
        write(scored, tmp_path / "out", np.ones(6, bool))
    assert not (tmp_path / "out/manifest.json").exists()


def test_heldout_source_is_counted(scored, tmp_path):
    folder = tmp_path / "test"
    bad = [("cut.png", encoded(picture())[:99]), ("cut.txt", b"cut"), ("lone.png", b"x")]
    write_plain_tar(folder / "a.tar", [*sample_members("h", 1), *bad])
    counts = {}
    keep = np.ones(6, bool)
    write(
        scored,
        tmp_path / "out",
        keep,
        heldout_samples([Origin(SOURCE, folder)], counts, Labels([], 0)),
    )
    assert counts == {"": 1, "image.truncated": 1, "sample.missing_caption": 1}
    assert read_back(tmp_path / "out", "heldout")["key"].to_pylist() == ["h"]


def test_finished_shards_are_taken_as_they_are(scored, tmp_path, monkeypatch):
    keep, work = np.ones(6, bool), tmp_path / "work"
    want_hash = write(scored, tmp_path / "want", keep)
    want = {path.name: path.read_bytes() for path in (tmp_path / "want").iterdir()}
    # Killed after two shards: the third sample cannot be read any more, and nobody asks for it.
    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "close", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(scored, tmp_path / "out", keep, work=work)
    (work / "train-00002.parquet").write_bytes(b"half")
    seen = []
    read = ImageReader.read
    monkeypatch.setattr(ImageReader, "read", lambda *a: seen.append(a[2]) or read(*a))
    assert write(scored, tmp_path / "out", keep, work=work) == want_hash
    assert len(seen) == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == want


def test_each_epoch_takes_another_caption_and_all_of_it(tmp_path):
    words = ["one", "two", "three"]
    samples = [Sample(f"k{i}", encoded(picture()), "one", "", "", tuple(words)) for i in range(40)]
    samples += [Sample("alone", encoded(picture()), "alone", "", "")]
    config, source = FilterConfig(resolution_px=8), SourceConfig(path="", captions="random")
    splits = {"train": samples, "heldout": samples[:1]}
    text, labels = HashedText(), Labels.of([])
    write_training_set(splits, tmp_path, config, source, labels, text, {})
    batches = BatchSource(tmp_path, "train", 8, seed=3)
    seen = {}
    for epoch in range(3):
        batch = batches.atom(41 * epoch, 41)
        for key, caption, pooled, ids in zip(
            batch.keys,
            batch.captions,
            batch.condition.pooled_ND,
            batch.condition.ids_NT,
            strict=True,
        ):
            assert np.allclose(pooled.numpy(), text([caption])[0].astype(np.float32))
            assert ids.tolist() == text.ids([caption])[0].tolist()
            seen.setdefault(key, []).append(caption)
    assert seen.pop("alone") == ["alone"] * 3
    assert {caption for told in seen.values() for caption in told} == set(words)
    assert sum(len(set(told)) > 1 for told in seen.values()) > 30
    again = BatchSource(tmp_path, "train", 8, seed=3).atom(41, 41)
    assert again.captions == batches.atom(41, 41).captions
    assert BatchSource(tmp_path, "heldout", 8, seed=3).first(1).captions == ("one",)


def test_classes_are_names_and_indices_only_where_the_source_says_so():
    assert Labels.of(["", ""]).count == 0
    numbers = Labels.of(["3", "", "1"], "index")
    assert (numbers.count, [numbers.number(x) for x in ("3", "", "7", "x")]) == (4, [3, -1, -1, -1])
    names = Labels.of(["dog", "", "cat"])
    assert (names.count, [names.number(x) for x in ("cat", "dog", "", "cow")]) == (
        2,
        [0, 1, -1, -1],
    )
    assert Labels.of(["2023", "2019", "10"]).names == ["10", "2019", "2023"]
    assert Labels.of(["01", "1"]).names == ["01", "1"]
    assert Labels.of(["4006381333931", "12"]).count == 2
    with pytest.raises(DataError, match=r"'4006381333931' is no index.*label_kind: name"):
        Labels.of(["4006381333931", "12"], "index")


def test_row_groups_shrink_with_the_image():
    sizes = [rows_per_group(side) for side in (16, 64, 128, 256, 512, 1024)]
    assert sizes == [128, 128, 128, 32, 16, 16]


def test_numbered_set_is_what_the_loader_tests_rely_on(tmp_path):
    want = write_numbered_set(tmp_path, 10, side=8)
    table = read_back(tmp_path, "train")
    assert pa.types.is_binary(table.schema.field("image").type)
    for row in table.to_pylist():
        assert (np.asarray(Image.open(io.BytesIO(row["image"]))) == want[row["key"]]).all()
    assert json.loads((tmp_path / "manifest.json").read_text())["num_labels"] == 3


def test_a_held_out_class_that_is_not_trained_on_is_counted(tmp_path):
    members = [("a.png", encoded(picture())), ("a.cls", b"cat")]
    members += [("b.png", encoded(picture(seed=1))), ("b.cls", b"emu")]
    write_plain_tar(tmp_path / "a.tar", members)
    source, counts = SourceConfig(path="", condition="label"), {}
    found = list(heldout_samples([Origin(source, tmp_path)], counts, Labels.of(["cat", "dog"])))
    assert [sample.key for sample in found] == ["a"]
    assert counts == {"": 1, "sample.unknown_label": 1}
