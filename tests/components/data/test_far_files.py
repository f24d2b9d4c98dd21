"""A source in an object store: the same rows as from a folder, whatever its answers are like."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import far_files, far_systems
from components.data.config import ScoreConfig, SourceConfig
from components.data.far_files import FarPath, place_of
from components.data.origins import Origin, OriginImages
from components.data.score_parts import score_source
from components.data.source_state import state_of_source
from components.data.sources import parts, read_part
from components.errors import DataError
from tests.components.data.makers import (
    FlatNet,
    encoded,
    picture,
    read_back,
    sample_members,
    write_plain_tar,
)
from tests.components.data.object_store import spoilt_store, use_store

TEXT = SourceConfig(path="")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A folder with three buckets: tars, tables, and images with texts beside them."""
    folder = tmp_path_factory.mktemp("store")
    for number in range(3):
        members = [m for i in range(4) for m in sample_members(f"k{number}{i}", 10 * number + i)]
        write_plain_tar(folder / "tars/deep" / f"{number} a.tar", members)
    (folder / "tables").mkdir()
    images = [encoded(picture(64, i), "BMP") for i in range(60)]
    images += [encoded(picture(48, i)) for i in range(20)]
    table = pa.table({"image": images, "caption": [f"number {i}" for i in range(80)]})
    pq.write_table(table, folder / "tables/t.parquet", row_group_size=20)
    (folder / "images/_temporary").mkdir(parents=True)
    for number in range(3):
        (folder / "images" / f"\xe4 {number}#.png").write_bytes(encoded(picture(40, number)))
        (folder / "images" / f"\xe4 {number}#.txt").write_text(f"picture {number}")
    return folder


@pytest.fixture(scope="module")
def store(bucket):
    with spoilt_store(bucket) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def environment(store, monkeypatch):
    use_store(monkeypatch, store.port)
    monkeypatch.setattr(far_files, "FIRST_WAIT_S", 0.01)
    far_files.far_listing.cache_clear()
    store.spoil = lambda method, path, number: ""
    store.asked.clear()


def records(folder, config=TEXT):
    return [r for part in parts(config, folder) for r in read_part(config, folder, part)]


@pytest.mark.parametrize("name", ["tars", "tables", "images"])
def test_a_store_gives_the_rows_of_a_folder(bucket, name):
    assert records(place_of(f"s3://{name}")) == records(bucket / name)
    for record in records(bucket / name)[::7]:
        with OriginImages([Origin(TEXT, place_of(f"s3://{name}/"))]) as reader:
            place = record.shard, record.offset, len(record.image)
            assert reader.read(*place) == record.image


@pytest.mark.row("B16")
@pytest.mark.parametrize("what", ["slow", "fail", "cut"])
def test_a_bad_answer_is_asked_for_again(bucket, store, what):
    def spoil(method, path, number):
        return what if method == "GET" and path.count("/") > 1 and number % 2 == 0 else ""

    store.spoil = spoil
    for name in ("tars", "tables", "images"):
        assert records(place_of(f"s3://{name}")) == records(bucket / name)


def test_a_part_that_never_comes_is_one_row_and_the_rest_is_whole(bucket, store, tmp_path):
    store.spoil = lambda method, path, number: "fail" if "1%20a.tar" in path else ""
    origins = [Origin(TEXT, place_of("s3://tars"))]
    folders = tmp_path, ScoreConfig(), tmp_path / "work", tmp_path / "scores"
    facts = score_source(origins, *folders, net=FlatNet())
    rows = read_back(tmp_path / "scores", "scores").to_pylist()
    bad = [row for row in rows if row["reason"]]
    assert [row["reason"] for row in bad] == ["shard.unreachable"] and len(rows) == 9
    assert bad[0]["key"] == "<deep/1 a.tar>"
    assert facts["unreachable"] == {"parts": 1, "rows": 0, "unknown": 1}
    # What did not come is asked for again by the next try, and nothing else is.
    store.spoil = lambda method, path, number: ""
    store.asked.clear()
    facts = score_source(origins, *folders, net=FlatNet())
    assert facts["resumed"] == 2 and "unreachable" not in facts
    assert {path for _, path, _ in store.asked if path.endswith(".tar")} == {"/tars/deep/1%20a.tar"}
    assert len(read_back(tmp_path / "scores", "scores")) == 12


@pytest.mark.row("B16")
def test_a_server_that_says_nothing_is_given_up_and_so_is_a_file_that_went(
    bucket, store, monkeypatch
):
    monkeypatch.setattr(far_systems, "ANSWER_S", 1.0)
    monkeypatch.setattr(far_files, "TRIES", 2)
    far_systems._s3_at.cache_clear()
    store.spoil = lambda method, path, number: "stall" if "1%20a.tar" in path else ""
    began = time.monotonic()
    reasons = [r.reason for r in records(place_of("s3://tars")) if r.reason]
    assert reasons == ["shard.unreachable"] and time.monotonic() - began < 12
    far_systems._s3_at.cache_clear()
    monkeypatch.undo()
    use_store(monkeypatch, store.port)
    store.spoil = lambda method, path, number: ""
    place, gone = place_of("s3://tars"), bucket / "tars/deep/9.tar"
    write_plain_tar(gone, sample_members("late", 1))
    far_files.far_listing.cache_clear()
    listed = parts(TEXT, place)
    gone.unlink()
    found = [r for part in listed for r in read_part(TEXT, place, part)]
    assert [r.key for r in found if r.reason == "shard.unreachable"] == ["<deep/9.tar>"]
    far_files.far_listing.cache_clear()


@pytest.mark.row("B16")
def test_a_table_that_breaks_off_says_how_many_rows_are_missing(store, monkeypatch, tmp_path):
    monkeypatch.setattr(far_files, "PIECE_BYTES", 4_096)
    seen = []

    def spoil(method, path, number):
        seen.append(path)
        return "fail" if path.endswith("t.parquet") and len(seen) > 120 else ""

    store.spoil = spoil
    origins = [Origin(TEXT, place_of("s3://tables"))]
    facts = score_source(
        origins, tmp_path, ScoreConfig(), tmp_path / "work", tmp_path / "scores", net=FlatNet()
    )
    rows = read_back(tmp_path / "scores", "scores").to_pylist()
    whole = [row for row in rows if row["reason"] != "shard.unreachable"]
    assert 0 < len(whole) < 80 and facts["unreachable"]["unknown"] == 0
    assert facts["unreachable"]["rows"] == 80 - len(whole)


@pytest.mark.row("B16")
def test_a_lie_costs_what_it_tells_and_is_noticed_when_read_again(bucket, store):
    (good, *_) = records(bucket / "tars")
    store.spoil = lambda method, path, number: "lie" if path.endswith(".tar") else ""
    assert {record.reason for record in records(place_of("s3://tars"))} <= {
        "shard.empty",
        "shard.truncated",
    }
    sha256 = hashlib.sha256(good.image).hexdigest()
    with (
        OriginImages([Origin(TEXT, place_of("s3://tars"))]) as reader,
        pytest.raises(DataError, match="other bytes"),
    ):
        reader.read(good.shard, good.offset, len(good.image), sha256)


def test_a_long_tar_is_read_in_pieces(bucket, store):
    members = [(f"k{i}.png", encoded(picture(400, i))) for i in range(45)]
    write_plain_tar(bucket / "long/a.tar", members)
    size = (bucket / "long/a.tar").stat().st_size
    assert size > 9 * 2**20
    place, images = place_of("s3://long"), SourceConfig(path="", condition="none")
    part = parts(images, place)[0]
    first = next(iter(read_part(images, place, part)))
    assert first.key == "k0"
    assert sum(count for _, _, count in store.asked) < size / 2
    shutil.rmtree(bucket / "long")


@pytest.mark.parametrize("address", ["s3://nothing-here", "s3://tars/nothing", "s3:///x"])
def test_a_wrong_address_is_one_error(address):
    with pytest.raises(DataError) as found:
        records(place_of(address))
    assert "\n" not in str(found.value) and len(str(found.value)) < 500


def test_wrong_keys_are_one_error_and_are_not_shown(monkeypatch):
    with pytest.raises(DataError) as found:
        records(place_of("s3://wrongkey99:hidden99@tars/deep"))
    assert "hidden99" not in str(found.value) and "s3://tars/deep" in str(found.value)


def test_addresses():
    assert place_of("pictures/a b") == Path("pictures/a b")
    assert place_of("file:///a/b%20c") == Path("/a/b c")
    place = place_of("gs://key:word@bucket/folder/?x=1")
    assert isinstance(place, FarPath) and str(place / "a?.tar") == "gs://bucket/folder/a%3F.tar"
    with pytest.raises(DataError, match="allowed: file://"):
        place_of("ftp://host/folder")


def test_a_change_in_a_store_or_a_folder_changes_its_state(bucket, tmp_path):
    shutil.copytree(bucket / "images", tmp_path / "images")
    memory = tmp_path / "known.sqlite"
    here = Origin(TEXT, tmp_path / "images")
    first = state_of_source(here, memory)
    os.utime(tmp_path / "images" / "\xe4 0#.png", (1, 1))
    assert state_of_source(here, memory) == first  # the content is what counts
    (tmp_path / "images" / "\xe4 0#.png").write_bytes(encoded(picture(40, 9)))
    assert state_of_source(here, memory)["sha256"] != first["sha256"]
    memory.write_bytes(b"no database" * 99)
    there = Origin(TEXT, place_of("s3://images"))
    before = state_of_source(there, memory)
    assert before["files"] == 6 and state_of_source(there, memory) == before
    (bucket / "images/new.txt").write_text("new")
    far_files.far_listing.cache_clear()
    assert state_of_source(there, memory)["sha256"] != before["sha256"]
    (bucket / "images/new.txt").unlink()
