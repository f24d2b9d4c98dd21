import hashlib
from itertools import islice

import numpy as np
import pytest

from components.artifacts.frozen_nets import ABSENT
from components.data.config import SourceConfig
from components.data.scoring import SCORE_SCHEMA, score_rows, write_scores
from components.data.shards import read_shards
from components.data.training_set import ClipText
from components.errors import ConfigError, StorageError
from tests.components.data.makers import (
    FlatNet,
    encoded,
    picture,
    sample_members,
    write_plain_tar,
)

SOURCE = SourceConfig(path="")


@pytest.fixture()
def folder(tmp_path):
    src = tmp_path / "src"
    good = [m for i in range(7) for m in sample_members(f"k{i}", i)]
    cut = [("cut.jpg", encoded(picture(64), "JPEG")[:300]), ("cut.txt", b"cut")]
    write_plain_tar(src / "a.tar", [*good, *cut, ("lone.txt", b"lone")])
    write_plain_tar(src / "b.tar", [*sample_members("k3", 40), *sample_members("z", 41)])
    (src / "c.tar").write_bytes(b"")
    return src


def test_captions_without_a_clip_are_one_line(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"no CLIP to read captions with \(.*clip\): set enc"):
        next(score_rows(SOURCE, folder, tmp_path, 3))
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / ABSENT).write_text("{}")
    with pytest.raises(ConfigError, match="no CLIP to read captions with"):
        ClipText(tmp_path / "clip")
    (tmp_path / "clip" / ABSENT).rename(tmp_path / "clip" / "card.json")
    with pytest.raises(StorageError, match="run the encoders stage again"):
        next(score_rows(SOURCE, folder, tmp_path, 3))


def rows_of(folder, batch=3, **options):
    return list(score_rows(SOURCE, folder, folder, batch, net=FlatNet(), **options))


def test_every_sample_has_one_row(folder):
    found = [(r["key"], r["shard"], r["reason"]) for r in rows_of(folder)]
    assert found == [
        *((f"k{i}", "a.tar", None) for i in range(7)),
        ("cut", "a.tar", "image.truncated"),
        ("lone", "a.tar", "sample.missing_image"),
        ("k3", "b.tar", "sample.duplicate_key"),
        ("z", "b.tar", None),
        ("<c.tar>", "c.tar", "shard.unreadable"),
    ]


def test_facts_are_those_of_the_file(folder):
    row = rows_of(folder)[2]
    data = encoded(picture(seed=2))
    assert row["sha256"] == hashlib.sha256(data).hexdigest() and row["num_bytes"] == len(data)
    assert (row["format"], row["mode"], row["width"], row["height"]) == ("PNG", "RGB", 40, 40)
    assert (row["caption"], row["caption_chars"]) == ("a picture", 9)
    assert row["clip_similarity"] == pytest.approx(picture(seed=2).mean() / 255, abs=1e-6)
    assert len(row["thumbnail"]) == 192


def test_unreadable_rows_have_no_similarity(folder):
    for row in rows_of(folder):
        assert (row["clip_similarity"] is None) == (row["reason"] is not None)


def test_backends_and_batches_give_the_same_rows(folder):
    def other_order(items, worker, arguments):
        """Do as a pool does: one object per part, the last part first."""
        found = {i: worker(**arguments)([item]) for i, item in reversed(list(enumerate(items)))}
        return [row for i in range(len(items)) for row in found[i]]

    assert rows_of(folder) == rows_of(folder, map_parts=other_order) == rows_of(folder, batch=100)


def test_scores_are_written_with_their_counts(folder, tmp_path):
    out = tmp_path / "scores"
    facts = write_scores(iter(rows_of(folder)), out)
    assert facts["rows"] == 12
    assert facts["reasons"] == {
        "image.truncated": 1,
        "sample.missing_image": 1,
        "sample.duplicate_key": 1,
        "shard.unreadable": 1,
    }
    table = read_shards(out, "scores")
    assert table.schema == SCORE_SCHEMA and table.num_rows == 12
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    write_scores(iter(rows_of(folder)), out)
    assert first == {path.name: path.read_bytes() for path in out.iterdir()}


def test_rows_stream(folder):
    rows = score_rows(SOURCE, folder, folder, 2, net=FlatNet())
    assert [row["key"] for row in islice(rows, 2)] == ["k0", "k1"]


def test_nan_is_handed_on(folder):
    class NanNet(FlatNet):
        def similarity(self, images, captions):
            return np.full(len(images), np.nan, np.float32)

    row = next(score_rows(SOURCE, folder, folder, 4, net=NanNet()))
    assert np.isnan(row["clip_similarity"]) and row["reason"] is None
