import hashlib
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.parquet_files import TableWriter, read_columns, write_table
from components.data.shards import (
    ShardWriter,
    checked_shards,
    read_manifest,
    write_manifest,
    write_tar,
)
from components.errors import DataError

SCHEMA = pa.schema([("key", pa.string()), ("image", pa.binary())])


def rows(count):
    return [{"key": f"k{i}", "image": bytes([i % 256]) * 50} for i in range(count)]


def written(folder):
    """Write five rows in three shards; return what the writer says about them."""
    writer = ShardWriter(folder, "train", SCHEMA, shard_rows=2)
    for row in rows(5):
        writer.write(row)
    return writer.close()


def test_tars_have_no_owner_and_no_time(tmp_path):
    samples = [("a/b", {"png": b"x" * 700, "txt": b"y"}), ("c", {"txt": b""})]
    write_tar(tmp_path / "1.tar", samples)
    write_tar(tmp_path / "2.tar", samples)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    with tarfile.open(tmp_path / "1.tar") as tar:
        assert [(m.name, m.size) for m in tar] == [("a/b.png", 700), ("a/b.txt", 1), ("c.txt", 0)]
        assert {(m.mtime, m.uid, m.gid, m.uname) for m in tar} == {(0, 0, 0, "")}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.tar", "2.tar"]


def test_a_key_with_a_dot_is_refused_and_leaves_no_shard(tmp_path):
    with pytest.raises(ValueError, match="must not hold a dot"):
        write_tar(tmp_path / "1.tar", [("a.b", {"txt": b""})])
    assert not (tmp_path / "1.tar").exists()


def test_shards_are_cut_counted_and_hashed(tmp_path):
    (tmp_path / "train-00009.parquet").write_bytes(b"old")
    writer = ShardWriter(tmp_path, "train", SCHEMA, 40, group_rows=16)
    for row in rows(100):
        writer.write(row)
    facts = writer.close()
    assert facts["rows"] == 100 and [s["rows"] for s in facts["shards"]] == [40, 40, 20]
    for shard in facts["shards"]:
        data = (tmp_path / shard["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == shard["sha256"]
    found = pq.ParquetFile(tmp_path / "train-00000.parquet").metadata
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == [16, 16, 8]
    write_manifest(tmp_path, facts)
    paths = checked_shards(tmp_path, "train", SCHEMA)
    found = pa.concat_tables([pq.read_table(path) for path in paths])
    assert found.to_pylist() == rows(100)


def test_no_rows_make_one_empty_shard(tmp_path):
    facts = ShardWriter(tmp_path, "train", SCHEMA, 40).close()
    write_manifest(tmp_path, facts)
    (path,) = checked_shards(tmp_path, "train", SCHEMA)
    assert facts["rows"] == 0 and pq.read_schema(path) == SCHEMA


def test_row_groups_are_limited(tmp_path):
    with pytest.raises(ValueError, match="512"):
        write_table(tmp_path / "a.parquet", pa.Table.from_pylist(rows(3), SCHEMA), 513)


def test_manifest_hash_follows_its_content(tmp_path):
    first = write_manifest(tmp_path, {"a": 1, "b": [1, 2]})
    assert read_manifest(tmp_path) == {"a": 1, "b": [1, 2], "content_hash": first}
    assert write_manifest(tmp_path, {"b": [1, 2], "a": 1}) == first
    assert write_manifest(tmp_path, {"a": 2, "b": [1, 2]}) != first
    assert first == hashlib.sha256(json.dumps({"a": 1, "b": [1, 2]}).encode()).hexdigest()


def test_errors_name_the_file(tmp_path):
    with pytest.raises(DataError, match=r"manifest.*filter stage"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match=r"manifest.*score stage"):
        checked_shards(tmp_path, "scores", SCHEMA)
    (tmp_path / "manifest.json").write_text('{"shards": 3}')
    with pytest.raises(DataError, match=r"0 files scores-\*.parquet, 0 in the manifest"):
        checked_shards(tmp_path, "scores", SCHEMA)


@pytest.mark.row("G11")
def test_a_flipped_bit_is_found_and_the_shard_is_named(tmp_path):
    write_manifest(tmp_path, written(tmp_path))
    assert len(checked_shards(tmp_path, "train", SCHEMA)) == 3
    path = tmp_path / "train-00001.parquet"
    content = bytearray(path.read_bytes())
    content[content.index(bytes([3]) * 50) + 7] ^= 4
    path.write_bytes(content)
    pq.read_table(path)  # Parquet itself does not mind
    with pytest.raises(DataError, match=r"damaged.*train-00001.parquet"):
        checked_shards(tmp_path, "train", SCHEMA)
    path.unlink()
    with pytest.raises(DataError, match=r"2 files train-\*.parquet, 3 in the manifest"):
        checked_shards(tmp_path, "train", SCHEMA)


@pytest.mark.row("G11")
def test_a_changed_manifest_is_refused(tmp_path):
    write_manifest(tmp_path, written(tmp_path))
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"rows": 5', '"rows": 4'))
    with pytest.raises(DataError, match="changed since"):
        read_manifest(tmp_path)
    for text in ("[]", "[" * 100_000, "{"):
        path.write_text(text)
        with pytest.raises(DataError, match="manifest"):
            read_manifest(tmp_path)


@pytest.mark.row("G12", "B19")
@pytest.mark.parametrize(
    ("column", "says"),
    [
        (None, "no column image"),
        (pa.array([1] * 5), "column image holds int64, wanted binary"),
        (pa.array([[b"x"]] * 5), "column image holds list<"),
    ],
)
def test_another_column_is_one_line(tmp_path, column, says):
    table = pa.table({"key": ["k"] * 5} | ({} if column is None else {"image": column}))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=says) as caught:
        read_columns(tmp_path / "a.parquet", SCHEMA)
    assert "a.parquet" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.row("G12", "B19")
def test_no_parquet_is_one_line(tmp_path):
    for content in (b"PAR1junkPAR1", b"", b"x" * 99):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"unreadable Parquet.*a.parquet"):
            read_columns(tmp_path / "a.parquet", SCHEMA)


@pytest.mark.parametrize("pieces", [[0], [1_300], [1, 511, 700, 88], [600, 600, 100], [0, 1_300]])
def test_a_long_file_has_the_same_bytes_however_it_comes(tmp_path, pieces):
    whole = pa.Table.from_pylist(rows(sum(pieces)), schema=SCHEMA)
    write_table(tmp_path / "a.parquet", whole)
    with TableWriter(tmp_path / "b.parquet", SCHEMA) as writer:
        at = 0
        for count in pieces:
            writer.write(whole.slice(at, count))
            at += count
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_table(tmp_path / "b.parquet").equals(whole)


def test_a_very_long_file_has_few_row_groups_and_a_break_leaves_none(tmp_path):
    whole = pa.Table.from_pylist(rows(3_000), schema=SCHEMA)
    with TableWriter(tmp_path / "a.parquet", SCHEMA, num_rows=1_000_000) as writer:
        writer.write(whole)
    assert pq.read_metadata(tmp_path / "a.parquet").num_row_groups == 3
    with (
        pytest.raises(KeyboardInterrupt),
        TableWriter(tmp_path / "b.parquet", SCHEMA) as writer,
    ):
        writer.write(whole)
        raise KeyboardInterrupt
    assert not (tmp_path / "b.parquet").exists()
