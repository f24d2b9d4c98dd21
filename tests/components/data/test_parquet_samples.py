import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.config import SourceConfig
from components.data.sources import ImageReader, parts, read_part
from components.errors import DataError
from tests.components.data.makers import encoded, picture

FILES = [encoded(picture(16, seed=i)) for i in range(5)]


def rows(folder, **fields):
    config = SourceConfig(path=str(folder), **fields)
    return [r for part in parts(config, folder) for r in read_part(config, folder, part)]


def write(path, group=2, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=group)


@pytest.mark.parametrize("form", ["bytes", "struct", "path", "jpg"])
def test_images_as_bytes_as_struct_and_as_path(tmp_path, form):
    if form == "path":
        for i, content in enumerate(FILES):
            (tmp_path / f"{i}.png").write_bytes(content)
    cells = {
        "bytes": FILES,
        "struct": [{"bytes": content, "path": "x.png"} for content in FILES],
        "path": [f"{i}.png" for i in range(5)],
        "jpg": FILES,
    }[form]
    columns = {"jpg" if form == "jpg" else "image": cells}
    write(tmp_path / "a.parquet", **columns, text=[f"caption {i}" for i in range(5)])
    found = rows(tmp_path, kind="parquet")
    assert [(r.key, r.caption, r.reason) for r in found] == [
        (f"a.parquet:{i}", f"caption {i}", "") for i in range(5)
    ]
    assert [r.image for r in found] == FILES
    with ImageReader(SourceConfig(path="", kind="parquet"), tmp_path) as reader:
        assert [reader.read(r.shard, r.offset, len(r.image)) for r in found[::-1]] == FILES[::-1]


def test_every_odd_cell_has_its_reason(tmp_path):
    cells = [FILES[0], None, b"", FILES[1], FILES[2]]
    captions = [["one", "two"], ["x"], ["x"], None, []]
    write(tmp_path / "a.parquet", image=cells, caption=captions, kind=["a", "b", None, "d", "e"])
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    none = {"image": pa.array([], pa.binary()), "caption": pa.array([], pa.string())}
    write(tmp_path / "none.parquet", **none, kind=pa.array([], pa.string()))
    found = rows(tmp_path, captions="random", label_column="kind")
    assert [(r.key.removeprefix("a.parquet:"), str(r.reason)) for r in found] == [
        ("0", ""),
        ("1", "sample.missing_image"),
        ("2", "sample.missing_image"),
        ("3", "sample.missing_caption"),
        ("4", "caption.type"),
        ("<cut.parquet>", "shard.unreadable"),
        ("<none.parquet>", "shard.empty"),
    ]
    assert found[0].captions == ("one", "two") and found[0].label == "a"


def test_paths_never_lead_outside(tmp_path):
    write(tmp_path / "a.parquet", image=["/etc/passwd", "../x.png", "gone.png"], text=["a"] * 3)
    reasons = [str(r.reason) for r in rows(tmp_path)]
    assert reasons == [*2 * ["shard.unsafe_member"], "sample.missing_image"]


def test_errors_name_the_column(tmp_path):
    write(tmp_path / "a.parquet", picture=[b"x"], text=["a"])
    with pytest.raises(DataError, match=r"no column 'file'; it has picture, text.*file_column"):
        rows(tmp_path)
    assert rows(tmp_path, file_column="picture")[0].image == b"x"
    write(tmp_path / "a.parquet", file=[1], text=["a"])
    with pytest.raises(DataError, match=r"column 'file' is int64; wanted: bytes"):
        rows(tmp_path)
