import json
import tarfile
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.data.captions import ATTRIBUTES, PAIR_ATTRIBUTES, attributes_of
from components.data.config import SourceConfig, SynthesizeConfig
from components.data.corpus import write_corpus
from components.data.decode import Decoded, decode
from components.data.dirt import KINDS, plan_dirt
from components.data.sources import parts, read_part
from components.data.synthetic import sample_pairs

CONFIG = SynthesizeConfig(
    pairs=600,
    encoders_pairs=30,
    judge_pairs=20,
    validation_pairs=10,
    test_pairs=10,
    shard_pairs=250,
    truncated_fraction=0.02,
    tiny_fraction=0.02,
    extreme_aspect_fraction=0.02,
    cmyk_fraction=0.02,
    deep_fraction=0.02,
    palette_fraction=0.02,
    empty_caption_fraction=0.02,
    workers=1,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    manifest = write_corpus(CONFIG, 4, root / "raw", root / "truth")
    truth = {row["key"]: row for row in pq.read_table(root / "truth/truth.parquet").to_pylist()}
    return root, manifest, truth


def records_of(root, split):
    config = SourceConfig(path="")
    folder = root / "raw" / split
    return {r.key: r for part in parts(config, folder) for r in read_part(config, folder, part)}


def test_truth_has_one_row_for_each_sample(corpus):
    root, manifest, truth = corpus
    sizes = {"train": 600, "encoders": 30, "judge": 20, "validation": 10, "test": 10}
    assert Counter(row["split"] for row in truth.values()) == sizes
    for split, size in sizes.items():
        assert set(records_of(root, split)) == {k for k, r in truth.items() if r["split"] == split}
        assert sum(shard["rows"] for shard in manifest["splits"][split]) == size
    counts = Counter(row["dirt"] for row in truth.values() if row["split"] == "train")
    want = {kind: round(getattr(CONFIG, field) * 600) for kind, field in KINDS.items()}
    assert {kind: counts[kind] for kind in KINDS} == want


def test_each_kind_of_dirt_is_what_it_says(corpus):
    root, _, truth = corpus
    records = records_of(root, "train")
    images = {key: decode(record.image) for key, record in records.items()}
    for key, row in truth.items():
        if row["split"] != "train":
            continue
        record, image, dirt = records[key], images[key], row["dirt"]
        told = attributes_of(record.caption)
        true = {name: row[name] for name in ATTRIBUTES}
        assert attributes_of(row["caption_true"]) == true
        assert row["swapped"] == (dirt == "swapped")
        if dirt == "swapped":
            assert told is not None and told != true
        elif dirt == "empty_caption":
            assert record.caption == "" and record.reason == "caption.empty"
        else:
            assert told == true
        if dirt == "truncated":
            assert image == "image.truncated"
            continue
        assert isinstance(image, Decoded)
        shape = (image.width, image.height)
        if dirt == "tiny":
            assert 4 <= min(shape) == max(shape) <= 12
        elif dirt == "extreme_aspect":
            assert image.height == 64 and image.width >= 8 * 64
        elif dirt != "near_duplicate":
            assert shape == (64, 64)
        if dirt in ("cmyk", "palette"):
            assert image.mode == {"cmyk": "CMYK", "palette": "P"}[dirt]
        if dirt == "deep":
            assert record.image[24] == 16  # bit depth, at its place in the PNG header
        if row["exact_duplicate_of"]:
            assert record.image == records[row["exact_duplicate_of"]].image
            assert row["exact_duplicate_of"] < key
        if row["near_duplicate_of"]:
            origin = records[row["near_duplicate_of"]]
            assert record.image != origin.image and row["near_duplicate_of"] < key
            gap = image.pixels_HWC.mean((0, 1)) - images[origin.key].pixels_HWC.mean((0, 1))
            assert np.abs(gap).max() < 4


def test_train_tells_nothing_and_clean_splits_tell_all(corpus):
    root, _, truth = corpus
    with tarfile.open(root / "raw/train/shard-00000.tar") as tar:
        facts = json.loads(tar.extractfile("train_000000.json").read())
    assert facts == {"id": "train_000000"}
    with tarfile.open(root / "raw/judge/shard-00000.tar") as tar:
        facts = json.loads(tar.extractfile("judge_000003.json").read())
    row = truth["judge_000003"]
    label = ATTRIBUTES["shape"].index(row["shape"]) * 8 + ATTRIBUTES["colour"].index(row["colour"])
    assert facts == {"id": "judge_000003", "label": label} | {n: row[n] for n in ATTRIBUTES}
    assert row["dirt"] == ""


def test_truth_and_facts_of_two_objects(tmp_path):
    config = replace(CONFIG, objects=2, pairs=80, resolution_px=32)
    write_corpus(config, 4, tmp_path / "raw", tmp_path / "truth")
    rows = pq.read_table(tmp_path / "truth/truth.parquet").to_pylist()
    assert len(rows) == 80 + 30 + 20 + 10 + 10
    for row in rows:
        true = {name: row[name] for name in PAIR_ATTRIBUTES}
        assert attributes_of(row["caption_true"]) == true
    with tarfile.open(tmp_path / "raw/judge/shard-00000.tar") as tar:
        facts = json.loads(tar.extractfile("judge_000003.json").read())
    row = next(row for row in rows if row["key"] == "judge_000003")
    assert {name: facts[name] for name in PAIR_ATTRIBUTES} == {n: row[n] for n in PAIR_ATTRIBUTES}
    again = write_corpus(replace(config, workers=2), 4, tmp_path / "b", tmp_path / "c")
    assert json.loads((tmp_path / "raw/manifest.json").read_text()) == again


def test_bytes_depend_on_seed_alone(corpus, tmp_path):
    root, manifest, _ = corpus
    again = write_corpus(replace(CONFIG, workers=2), 4, tmp_path / "raw", tmp_path / "truth")
    assert again == manifest
    for path in root.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / path.relative_to(root)).read_bytes()
    other = write_corpus(CONFIG, 5, tmp_path / "raw", tmp_path / "truth")
    assert other["splits"]["test"] != manifest["splits"]["test"]


def test_nothing_to_do_keeps_the_shape(tmp_path):
    (tmp_path / "raw/train").mkdir(parents=True)
    (tmp_path / "raw/train/shard-00000.tar").write_bytes(b"old")
    manifest = write_corpus(replace(CONFIG, pairs=0), 0, tmp_path / "raw", tmp_path / "truth")
    assert set(manifest["splits"]) == {"train", "encoders", "judge", "validation", "test"}
    assert not list((tmp_path / "raw").rglob("*.tar"))
    assert pq.read_table(tmp_path / "truth/truth.parquet").num_rows == 0


def test_all_alike_cannot_be_swapped():
    attributes = {name: np.zeros(4, int) for name in ATTRIBUTES}
    plan = plan_dirt(replace(CONFIG, swapped_fraction=1.0), 0, attributes)
    assert "swapped" not in plan.kind
    different = sample_pairs(0, "train", range(50)).attributes
    assert "swapped" in plan_dirt(CONFIG, 0, different).kind
