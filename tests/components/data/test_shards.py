import hashlib
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.shards import (
    ShardWriter,
    read_manifest,
    read_shards,
    write_manifest,
    write_table,
    write_tar,
)
from components.errors import DataError

SCHEMA = pa.schema([("key", pa.string()), ("image", pa.binary())])


def rows(count):
    return [{"key": f"k{i}", "image": bytes([i % 256]) * 50} for i in range(count)]


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
    assert read_shards(tmp_path, "train").to_pylist() == rows(100)


def test_no_rows_make_one_empty_shard(tmp_path):
    facts = ShardWriter(tmp_path, "train", SCHEMA, 40).close()
    assert facts["rows"] == 0 and read_shards(tmp_path, "train").schema == SCHEMA


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
    with pytest.raises(DataError, match=r"no scores-\*"):
        read_shards(tmp_path, "scores")
    (tmp_path / "scores-00000.parquet").write_bytes(b"PAR1junkPAR1")
    with pytest.raises(DataError, match=r"unreadable Parquet.*scores-00000"):
        read_shards(tmp_path, "scores")
