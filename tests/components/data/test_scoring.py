import hashlib
import os
import shutil

import numpy as np
import pytest

from components.artifacts.frozen_nets import ABSENT
from components.data.config import ScoreConfig, SourceConfig
from components.data.origins import Origin
from components.data.score_parts import score_source
from components.data.scoring import SCORE_SCHEMA
from components.data.shard_tables import ClipText
from components.errors import ConfigError, StorageError
from tests.components.data.makers import (
    FlatNet,
    encoded,
    picture,
    read_back,
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


def score(folder, batch=3, source=SOURCE, **options):
    options = {"net": FlatNet(), "encoders": folder} | options
    places = {"work": folder.parent / "work", "out": folder.parent / "scores"}
    return score_source(
        [Origin(source, folder)], config=ScoreConfig(batch=batch), **places, **options
    )


def test_captions_without_a_clip_are_one_line(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"no CLIP to read captions with \(.*clip\): set enc"):
        score(folder, encoders=tmp_path, net=None)
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / ABSENT).write_text("{}")
    with pytest.raises(ConfigError, match="no CLIP to read captions with"):
        ClipText(tmp_path / "clip")
    (tmp_path / "clip" / ABSENT).rename(tmp_path / "clip" / "card.json")
    with pytest.raises(StorageError, match="run the encoders stage again"):
        score(folder, encoders=tmp_path, net=None)


def rows_of(folder, batch=3, **options):
    score(folder, batch, **options)
    rows = read_back(folder.parent / "scores", "scores").to_pylist()
    shutil.rmtree(folder.parent / "work")
    return rows


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


def test_of_several_captions_the_worst_decides(tmp_path):
    members = [("a.png", encoded(picture())), ("a.txt", b"good\nbad\n\nfair")]
    write_plain_tar(tmp_path / "src/a.tar", members)

    class Words(FlatNet):
        def similarity(self, images, captions):
            return np.array([{"good": 0.9, "bad": 0.1, "fair": 0.5}[c] for c in captions])

    source = SourceConfig(path="", captions="random")
    places = tmp_path / "work", tmp_path / "scores"
    score_source([Origin(source, tmp_path / "src")], tmp_path, ScoreConfig(), *places, net=Words())
    (row,) = read_back(tmp_path / "scores", "scores").to_pylist()
    assert row["captions"] == ["good", "bad", "fair"] and row["caption"] == "good"
    assert row["clip_similarity"] == pytest.approx(0.1)


def test_backends_and_batches_give_the_same_rows(folder):
    def other_order(items, worker, arguments):
        """Do as a pool does: one object per part, the last part first."""
        for number, item in reversed(list(enumerate(items))):
            yield number, worker(**arguments)([item])

    assert rows_of(folder) == rows_of(folder, map_parts=other_order) == rows_of(folder, batch=100)


def test_scores_are_written_with_their_counts(folder):
    out = folder.parent / "scores"
    facts = score(folder)
    assert facts["rows"] == 12
    assert facts["reasons"] == {
        "image.truncated": 1,
        "sample.duplicate_key": 1,
        "sample.missing_image": 1,
        "shard.unreadable": 1,
    }
    table = read_back(out, "scores")
    assert table.schema == SCORE_SCHEMA and table.num_rows == 12
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.rmtree(folder.parent / "work")
    score(folder)
    assert first == {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_kill_loses_one_part_and_changes_no_byte(folder):
    out, work = folder.parent / "scores", folder.parent / "work"
    assert score(folder)["resumed"] == 0
    want = {path.name: path.read_bytes() for path in out.iterdir()}
    # Killed while it wrote the second part: the first is whole, the second half written.
    half = (work / "part-000001.parquet").read_bytes()[:300]
    (work / "part-000001.parquet").write_bytes(half)
    (work / "part-000002.parquet").unlink()
    shutil.rmtree(out)

    class Counted(FlatNet):
        images = 0

        def small(self, image):
            Counted.images += 1
            return super().small(image)

    assert score(folder, net=Counted())["resumed"] == 1
    assert Counted.images == 2  # of b.tar alone
    assert {path.name: path.read_bytes() for path in out.iterdir()} == want
    # A shard that changed is scored again.
    os.utime(folder / "a.tar", (1, 1))
    assert score(folder)["resumed"] == 2


def test_no_more_of_an_image_is_held_than_the_net_looks_at(folder):
    seen = []

    class Small(FlatNet):
        def small(self, image):
            return np.asarray(image.crop((0, 0, 2, 2)))

        def similarity(self, images, captions):
            seen.extend(image.shape for image in images)
            return super().similarity(images, captions)

    rows_of(folder, net=Small())
    assert set(seen) == {(2, 2, 3)} and len(seen) == 9


def test_nan_is_handed_on(folder):
    class NanNet(FlatNet):
        def similarity(self, images, captions):
            return np.full(len(images), np.nan, np.float32)

    row = rows_of(folder, net=NanNet())[0]
    assert np.isnan(row["clip_similarity"]) and row["reason"] is None


def test_a_file_of_no_bytes_has_a_reason(tmp_path):
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "empty.jpg").touch()
    (folder / "whole.png").write_bytes(encoded(picture(12)))
    source = SourceConfig(kind="image_folder", condition="none", path="")
    found = {row["key"]: row["reason"] for row in rows_of(folder, source=source)}
    assert found == {"empty.jpg": "image.truncated", "whole.png": None}
