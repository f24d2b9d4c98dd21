import io
import json
import os
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.config import SourceConfig
from components.data.sources import ImageReader, parts, read_part
from components.errors import DataError
from tests.components.data.makers import encoded, picture, sample_members, write_plain_tar


def records_of(folder, **fields):
    config = SourceConfig(path=str(folder), **fields)
    return [r for part in parts(config, folder) for r in read_part(config, folder, part)]


def reasons_of(folder, **fields):
    return {r.key: str(r.reason) for r in records_of(folder, **fields)}


def test_good_samples_and_random_access(tmp_path):
    for shard in range(2):
        members = [m for i in range(5) for m in sample_members(f"{shard}{i}", 10 * shard + i)]
        write_plain_tar(tmp_path / f"{shard}.tar", members)
    found = records_of(tmp_path)
    assert [r.key for r in found] == [f"{s}{i}" for s in range(2) for i in range(5)]
    config = SourceConfig(path="")
    with ImageReader(config, tmp_path) as reader:
        for r in reversed(found):
            want = encoded(picture(seed=10 * int(r.key[0]) + int(r.key[1])))
            assert r.reason == "" and r.image == want
            assert reader.read(r.shard, r.offset, len(r.image)) == want


@pytest.mark.row("B11")
def test_keys_end_at_the_first_dot_and_keep_their_folder(tmp_path):
    members = [("in/er.side.PNG", b"i"), ("in/er.txt", b"x"), ("./b.jpg", b"i"), ("b.txt", b"y")]
    write_plain_tar(tmp_path / "a.tar", members)
    found = records_of(tmp_path)
    assert [(r.key, r.caption) for r in found] == [("in/er", "x"), ("b", "y")]
    assert found[0].reason == "sample.missing_image"  # "side.png" is no image extension
    assert found[1].image == b"i"


def test_json_gives_caption_group_and_label(tmp_path):
    facts = {"text": " two\n words ", "concept": 7, "class": "cat"}
    members = [("a.png", b"i"), ("a.json", json.dumps(facts).encode())]
    write_plain_tar(tmp_path / "a.tar", members)
    fields = {"caption_column": "text", "group_column": "concept", "label_column": "class"}
    found = records_of(tmp_path, **fields)[0]
    assert (found.caption, found.group, found.label, found.reason) == ("two words", "7", "cat", "")


@pytest.mark.row("B10", "B11")
@pytest.mark.parametrize(
    ("members", "reasons"),
    [
        ([("a.png", b"i")], {"a": "sample.missing_caption"}),
        ([("a.txt", b"c")], {"a": "sample.missing_image"}),
        ([("a.png", b"i"), ("a.txt", b" \n\0 ")], {"a": "caption.empty"}),
        ([("a.png", b"i"), ("a.txt", b"caf\xe9")], {"a": "caption.encoding"}),
        ([("a.png", b"i"), ("a.txt", "\ufeffcaf\u00e9".encode())], {"a": ""}),
        ([("a.png", b"i"), ("a.txt", b"c"), ("a.json", b"{")], {"a": "sample.bad_json"}),
        ([("a.png", b"i"), ("a.json", b'{"caption": "\\ud800"}')], {"a": "caption.encoding"}),
        ([("../a.png", b"i")], {"../a.png": "shard.unsafe_member"}),
        ([("/a.png", b"i")], {"/a.png": "shard.unsafe_member"}),
        ([("C:\\a.png", b"i")], {"C:\\a.png": "shard.unsafe_member"}),
    ],
)
def test_every_fault_has_its_reason(tmp_path, members, reasons):
    write_plain_tar(tmp_path / "a.tar", members)
    assert reasons_of(tmp_path) == reasons


@pytest.mark.row("B12")
def test_no_half_sample_is_emitted_when_members_are_apart(tmp_path):
    a, b = sample_members("a", 1), sample_members("b", 2)
    write_plain_tar(tmp_path / "a.tar", [a[0], *b, a[1], *sample_members("b", 3)])
    found = [(r.key, str(r.reason)) for r in records_of(tmp_path)]
    assert found == [
        ("a", "sample.missing_caption"),
        ("b", ""),
        ("a", "sample.missing_image"),
        ("b", ""),  # whole; the scorer sees that the key came before
    ]


@pytest.mark.row("B15")
def test_links_are_refused_and_nothing_is_written(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    before = sorted(os.listdir(tmp_path))
    assert set(reasons_of(tmp_path).values()) == {"shard.unsafe_member"}
    assert sorted(os.listdir(tmp_path)) == before


def whole_tar(count):
    buffer = io.BytesIO()
    places = []
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for i in range(count):
            places.append(tar.offset)
            for name, content in sample_members(f"k{i}", i):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        places.append(tar.offset)
    return buffer.getvalue(), places


@pytest.mark.row("B14")
@pytest.mark.parametrize("where", ["header", "data", "caption", "boundary", "checksum"])
def test_a_cut_tar_keeps_what_stands_before_the_cut(tmp_path, where):
    data, places = whole_tar(6)
    at = {"header": 200, "data": 512 + 700, "caption": -600, "boundary": 0, "checksum": 0}[where]
    if where == "checksum":
        data = data[: places[3] + 148] + b"777777" + data[places[3] + 154 :]
        cut = data
    else:
        cut = data[: places[4 if where == "caption" else 3] + at]
    (tmp_path / "a.tar").write_bytes(cut)
    write_plain_tar(tmp_path / "b.tar", sample_members("z", 9))
    found = [(r.key, str(r.reason)) for r in records_of(tmp_path)]
    assert found[:3] == [("k0", ""), ("k1", ""), ("k2", "")]
    assert found[3][1] == "shard.truncated" and found[4:] == [("z", "")]


@pytest.mark.row("B14", "G2")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "unreadable"),
        (b"not a tar" * 100, "unreadable"),
        (b"\x1f\x8b" + bytes(600), "compressed"),
        (bytes(512), "empty"),
        (bytes(10_240), "empty"),
    ],
)
def test_what_is_no_tar_is_one_row(tmp_path, content, reason):
    (tmp_path / "a.tar").write_bytes(content)
    assert reasons_of(tmp_path) == {"<a.tar>": f"shard.{reason}"}


def write_folder(folder, table, name="captions.tsv"):
    files = {"x/a.png": "PNG", "x/b.webp": "WEBP", "c.jpg": "JPEG"}
    for i, (file, kind) in enumerate(files.items()):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(encoded(picture(seed=i), kind))
    (folder / name).write_bytes(table)


def test_image_folder_reads_every_file_and_every_row(tmp_path):
    table = (
        b'file\tcodepoints\tcaption\nx/a.png\t23\ta "red" hash\nx/b.webp\t23\t\nno.png\t4\tgone\n'
    )
    write_folder(tmp_path, table + b"../c.jpg\t5\tout\nx/a.png\t6\tcaf\xe9\n")
    found = records_of(tmp_path, kind="image_folder", group_column="codepoints")
    assert [(r.key, str(r.reason), r.group) for r in found] == [
        ("x/a.png", "", "23"),
        ("x/a.png#2", "caption.encoding", ""),
        ("x/b.webp", "caption.empty", "23"),
        ("no.png", "sample.missing_image", ""),
        ("../c.jpg", "shard.unsafe_member", ""),
        ("c.jpg", "sample.missing_caption", ""),
    ]
    assert found[0].caption == 'a "red" hash'
    assert found[0].image == encoded(picture(seed=0))


def test_csv_with_quotes(tmp_path):
    write_folder(tmp_path, b'image,text\nc.jpg,"one, two"\n', "list.csv")
    fields = {"captions_file": "list.csv", "file_column": "image", "caption_column": "text"}
    found = records_of(tmp_path, kind="image_folder", **fields)
    assert found[0].caption == "one, two" and len(found) == 3


def test_errors_name_what_to_set(tmp_path):
    with pytest.raises(DataError, match=r"no \.tar in it"):
        records_of(tmp_path, kind="webdataset")
    with pytest.raises(DataError, match=r"no \.tar, no \.parquet and no image in it"):
        records_of(tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.tar\.gz is compressed.*unpack it"):
        records_of(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        records_of(tmp_path / "none")
    with pytest.raises(DataError, match=r"no image in it"):
        records_of(tmp_path, kind="image_folder")
    write_folder(tmp_path, b"file\tname\n", "list.tsv")
    with pytest.raises(DataError, match=r"3 images, but no captions\.tsv.*captions_file"):
        records_of(tmp_path, kind="image_folder")
    (tmp_path / "list.tsv").rename(tmp_path / "captions.tsv")
    with pytest.raises(DataError, match=r"no column 'caption'; it has file, name.*caption_column"):
        records_of(tmp_path, kind="image_folder")


def test_classes_stand_for_captions_where_a_source_is_of_labels(tmp_path):
    members = [("a.png", b"i"), ("a.cls", b" cat\n"), ("b.png", b"i"), ("b.txt", b"words")]
    members += [("c.png", b"i"), ("c.json", b'{"class": "dog"}')]
    write_plain_tar(tmp_path / "a.tar", members)
    found = records_of(tmp_path, condition="label")
    assert [(r.caption, r.label) for r in found] == [("cat", "cat"), ("", ""), ("", "")]
    assert [str(r.reason) for r in found] == ["", *2 * ["sample.missing_label"]]
    named = records_of(tmp_path, condition="label", label_column="class")
    assert [r.label for r in named] == ["", "", "dog"]


def test_a_folder_of_classes_needs_no_table(tmp_path):
    fields = {"kind": "image_folder", "condition": "label"}
    for name in ("cat/1.png", "deep/dog/2.png", "3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"i")
    found = {r.key: (r.label, str(r.reason)) for r in records_of(tmp_path, **fields)}
    assert found == {
        "cat/1.png": ("cat", ""),
        "deep/dog/2.png": ("dog", ""),
        "3.png": ("", "sample.missing_label"),
    }
    (tmp_path / "captions.tsv").write_text("file\tkind\n3.png\tbird\n")
    listed = {r.key: r.label for r in records_of(tmp_path, label_column="kind", **fields)}
    assert listed == {"3.png": "bird", "cat/1.png": "", "deep/dog/2.png": ""}


def test_a_source_of_nothing_takes_every_picture(tmp_path):
    (tmp_path / "1.png").write_bytes(b"i")
    fields = {"kind": "image_folder", "condition": "none", "caption_column": "absent"}
    (found,) = records_of(tmp_path, **fields)
    assert (found.caption, found.label, found.reason) == ("", "", "")
    write_plain_tar(tmp_path / "tars/a.tar", [("a.png", b"i"), ("a.cls", b"cat")])
    (bare,) = records_of(tmp_path / "tars", condition="none")
    assert (bare.label, bare.reason) == ("", "")


CELLS = [("red apple", "fruit"), ("pear", ""), ("", "")]


@pytest.mark.parametrize("kind", ["image_folder", "webdataset", "parquet"])
def test_each_of_several_columns_is_a_caption_of_its_own(tmp_path, kind):
    """An empty cell is no caption."""
    rows = [{"file": f"{i}.png", "name": a, "words": b} for i, (a, b) in enumerate(CELLS)]
    if kind == "image_folder":
        for row in rows:
            (tmp_path / row["file"]).write_bytes(b"i")
        lines = ["\t".join(row.values()) for row in rows]
        (tmp_path / "captions.tsv").write_text("\n".join(["file\tname\twords", *lines]))
    elif kind == "webdataset":
        pairs = [(row["file"], json.dumps(row).encode()) for row in rows]
        members = [x for file, facts in pairs for x in ((file, b"i"), (f"{file[0]}.json", facts))]
        write_plain_tar(tmp_path / "a.tar", members)
    else:
        pq.write_table(
            pa.Table.from_pylist([x | {"file": b"i"} for x in rows]), tmp_path / "a.parquet"
        )
    fields = {"kind": kind, "caption_column": ("name", "words")}
    found = records_of(tmp_path, captions="random", **fields)
    assert [r.caption for r in found] == ["red apple", "pear", ""]
    assert [r.captions for r in found] == [("red apple", "fruit"), (), ()]
    assert [bool(r.reason) for r in found] == [False, False, True]
    each = records_of(tmp_path, captions="each", **fields)
    assert [r.caption for r in each if not r.reason] == ["red apple", "fruit", "pear"]


def test_a_column_of_captions_that_is_not_there_is_named(tmp_path):
    write_folder(tmp_path, b"file\tname\nx/a.png\ta\n")
    with pytest.raises(DataError, match="no column 'words'; it has file, name"):
        records_of(tmp_path, kind="image_folder", caption_column=("name", "words"))


def test_several_columns_together_are_the_class(tmp_path):
    facts = [b'{"colour": "red", "shape": "ring"}', b'{"colour": "red"}', b'{"shape": "a b"}']
    members = [
        (f"{i}.{kind}", x) for i, f in enumerate(facts) for kind, x in (("png", b"i"), ("json", f))
    ]
    write_plain_tar(tmp_path / "tars/a.tar", members)
    columns = {"condition": "label", "label_column": ("colour", "shape")}
    found = records_of(tmp_path / "tars", **columns)
    assert [r.label for r in found] == ["red ring", "", ""]
    assert [str(r.reason) for r in found] == ["", *2 * ["sample.missing_label"]]
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "captions.tsv").write_text("file\tshape\tcolour\n1.png\tring\tred\n")
    (folder / "1.png").write_bytes(b"i")
    (listed,) = records_of(folder, kind="image_folder", **columns)
    assert listed.label == "red ring"
    with pytest.raises(DataError, match=r"no column 'size'.*source.label_column"):
        records_of(folder, kind="image_folder", condition="label", label_column=("shape", "size"))
