"""Folders of images as people have them: hidden entries, links, names, tables, class folders."""

import json
import os
import unicodedata

import pytest

from components.data.config import SourceConfig
from components.data.names import restored, written
from components.data.sources import ImageReader, found_in, parts, read_part, settled
from components.errors import DataError
from tests.components.data.makers import encoded, picture, sample_members, write_plain_tar
from tests.privileges import as_an_owner_without_privileges

PNG = encoded(picture(12))


def put(folder, *files, content=PNG):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)


def rows(folder, **fields):
    config = SourceConfig(path=str(folder), **fields)
    return [r for part in parts(config, folder) for r in read_part(config, folder, part)]


def reasons(folder, **fields):
    return {r.key: str(r.reason) for r in rows(folder, **fields)}


def captions(folder, **fields):
    return {r.key: r.caption for r in rows(folder, **fields) if not r.reason}


def table(folder, text, name="captions.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


# What is data and what is not


def test_hidden_entries_are_no_data_and_are_counted(tmp_path):
    put(tmp_path, "cat/1.png", "cat/._1.png", ".ipynb_checkpoints/1-checkpoint.png")
    put(tmp_path, "@eaDir/1.png", ".Trash-1000/files/2.png", "cat/.hidden.png", "cat/Thumbs.db")
    found = rows(tmp_path, condition="label")
    assert [(r.key, r.label) for r in found if not r.reason] == [("cat/1.png", "cat")]
    assert sorted(r.key for r in found if r.reason == "entry.hidden") == [
        ".Trash-1000",
        ".ipynb_checkpoints",
        "@eaDir",
        "cat/._1.png",
        "cat/.hidden.png",
        "cat/Thumbs.db",
    ]


def test_every_file_that_is_or_claims_to_be_an_image_has_a_row(tmp_path):
    put(tmp_path, "a.jfif", "b.JPE", "c.JPG", "d.bmp", "e.tif", "f.gif", "g.avif", "no_suffix")
    put(tmp_path, "1.2.3", "notes.txt", "film.mp4", content=b"words")
    put(tmp_path, "odd.bin")
    found = reasons(tmp_path, condition="none")
    assert set(found) == {
        "a.jfif",
        "b.JPE",
        "c.JPG",
        "d.bmp",
        "e.tif",
        "f.gif",
        "g.avif",
        "no_suffix",
        "odd.bin",
    }


@pytest.mark.row("G1", "A18")
def test_links_are_followed_and_loops_are_refused(tmp_path):
    put(tmp_path, "far/cat/1.png")
    source = tmp_path / "source"
    source.mkdir()
    (source / "tiger").symlink_to(tmp_path / "far/cat")
    (source / "again").symlink_to(source)
    (source / "lost.png").symlink_to("nowhere")
    (source / "self.png").symlink_to("self.png")
    (source / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(source / "pipe.png")
    found = {r.key: (r.label, str(r.reason)) for r in rows(source, condition="label")}
    odd = {f"{n}.png": ("", "sample.not_a_file") for n in ("lost", "self", "endless", "pipe")}
    assert found == odd | {"tiger/1.png": ("tiger", ""), "again/": ("", "folder.loop")}


@pytest.mark.row("A18")
def test_a_folder_without_permission_is_a_row(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "dog").chmod(0)
    with as_an_owner_without_privileges():
        found = reasons(tmp_path, condition="label")
    (tmp_path / "dog").chmod(0o755)
    assert found == {"cat/1.png": "", "dog/": "folder.unreadable"}


# Classes


def test_two_class_folders_of_one_name_are_asked_about(tmp_path):
    put(tmp_path, "animals/other/1.png", "plants/other/1.png", "plants/tree/1.png")
    with pytest.raises(DataError, match=r"animals/other and plants/other.*source.class_folders"):
        rows(tmp_path, condition="label")
    labels = {r.label for r in rows(tmp_path, condition="label", class_folders="path")}
    assert labels == {"animals/other", "plants/other", "plants/tree"}
    labels = {r.label for r in rows(tmp_path, condition="label", class_folders="name")}
    assert labels == {"other", "tree"}


# Names


@pytest.mark.row("G10")
def test_every_name_can_be_written_and_found_again(tmp_path):
    names = [b"caf\xe9.png", b"caf\xe8.png", b"a\\xe9.png", b"a\\b.png", "caf\u00e9.png".encode()]
    for name in names:
        put(tmp_path, os.fsdecode(name), content=PNG + name)
    found = rows(tmp_path, condition="none")
    assert len({r.key.encode("utf-8") for r in found}) == len(names)
    with ImageReader(SourceConfig(path=""), tmp_path) as reader:
        for r in found:
            assert os.fsencode(restored(r.key)) in names
            assert reader.read(r.shard, r.offset, len(r.image)) == PNG + os.fsencode(
                restored(r.key)
            )
    for name in ("plain", "a\\b", "a\\x41", "\\\\x41", "\udce9\\x41\\"):
        assert restored(written(name)) == name


def test_other_spellings_of_a_name_mean_the_same_picture(tmp_path):
    nfc, nfd = (unicodedata.normalize(form, "caf\u00e9.png") for form in ("NFC", "NFD"))
    put(tmp_path, nfd, "in/b.png", "in/c.png", "in/d.png", "in/e.png")
    lines = [f"{nfc},coffee", "./in//b.png,bee", f"{tmp_path}/in/c.png,sea", "in\\d.png,deed"]
    table(tmp_path, "\n".join(["file,caption", *lines, "e.png,ease", "/etc/passwd,no", "../x,no"]))
    want = {nfd: "coffee", "in/b.png": "bee", "in/c.png": "sea", "in/d.png": "deed"}
    assert captions(tmp_path) == want | {"in/e.png": "ease"}
    bad = {k: r for k, r in reasons(tmp_path).items() if r}
    assert bad == dict.fromkeys(["/etc/passwd", "../x"], "shard.unsafe_member")


# Tables


def test_a_comma_too_many_never_cuts_a_caption(tmp_path):
    put(tmp_path, "a.png", "b.png", "c.png", "d.png")
    text = 'file,caption\na.png,one, two\nb.png,"one, two"\nc.png\nd.png,fine,\n\n,nameless\n'
    table(tmp_path, text)
    found = {r.key: (str(r.reason), r.caption, r.shard, r.offset) for r in rows(tmp_path)}
    assert found["b.png"][:2] == ("", "one, two") and found["d.png"][:2] == ("", "fine")
    assert found["a.png"] == ("sample.bad_row", "", "captions.csv", 2)
    assert found["c.png"] == ("sample.bad_row", "", "captions.csv", 4)
    assert found["<captions.csv:7>"] == ("sample.bad_row", "", "captions.csv", 7)
    assert len(found) == 5


def test_a_tab_in_a_caption_of_a_tsv(tmp_path):
    put(tmp_path, "a.png", "b.png")
    table(tmp_path, 'file\tcaption\na.png\tone\ttwo\nb.png\t5" nails\n', "captions.tsv")
    assert reasons(tmp_path) == {"a.png": "sample.bad_row", "b.png": ""}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a.png,"never closed\nb.png,two\nc.png,three\n', 2),
        ('a.png,one\nb.png,"two\nc.png,"three"\n', 3),
        ('a.png,"one\nb.png,two"\nc.png,three\n', 2),
        ('a.png,"one" more\nb.png,two\n', 2),
    ],
)
def test_a_quote_that_swallows_rows_is_refused_with_its_line(tmp_path, text, line):
    put(tmp_path, "a.png", "b.png", "c.png")
    table(tmp_path, "file,caption\n" + text)
    with pytest.raises(DataError, match=rf"^line {line}: a quoted cell.*close the quote"):
        rows(tmp_path)


def test_a_quoted_caption_may_have_several_lines(tmp_path):
    put(tmp_path, "a.png", "b.png")
    table(tmp_path, 'file,caption\na.png,"one\nand two, three"\nb.png,"say ""b"""\n')
    assert captions(tmp_path) == {"a.png": "one and two, three", "b.png": 'say "b"'}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_separator_and_encoding_are_seen(tmp_path, separator, encoding):
    put(tmp_path, "a.png")
    lines = ["file,caption,more", "a.png,caf\u00e9,1"]
    table(tmp_path, "\n".join(lines).replace(",", separator).encode(encoding))
    assert captions(tmp_path) == {"a.png": "caf\u00e9"}


def test_what_cannot_be_seen_is_a_setting_that_the_error_names(tmp_path):
    put(tmp_path, "a.png")
    table(tmp_path, b"file,caption\na.png,caf\xe9\n")
    assert reasons(tmp_path) == {"a.png": "caption.encoding"}
    assert captions(tmp_path, encoding="latin-1") == {"a.png": "caf\u00e9"}
    with pytest.raises(DataError, match=r"not text in klingon.*source.encoding"):
        rows(tmp_path, encoding="klingon")
    put(tmp_path, "colons/a.png")
    table(tmp_path / "colons", "file:caption\na.png:one\n")
    with pytest.raises(DataError, match=r"no column 'file'.*source.separator \(tab, comma"):
        rows(tmp_path / "colons")
    put(tmp_path, "both/a.png")
    table(tmp_path / "both", "file,x;file;caption,y\na.png,1;a.png;one,2\n", "captions.txt")
    fields = {"separator": "semicolon", "caption_column": "caption,y"}
    assert captions(tmp_path / "both", **fields) == {"a.png": "one,2"}


def test_known_tables_of_others(tmp_path):
    flickr = tmp_path / "flickr"
    put(flickr, "Images/1.jpg", "Images/2.jpg")
    five = "".join(f'1.jpg,"dog, number {i}"\n' for i in range(5))
    table(flickr, "image,caption\n" + five + "2.jpg,a cat\n", "captions.txt")
    assert captions(flickr) == {"Images/1.jpg": "dog, number 0", "Images/2.jpg": "a cat"}
    assert len(captions(flickr, captions="each")) == 6
    hugging = tmp_path / "hugging"
    put(hugging, "train/1.png", "train/2.png", "train/3.png")
    lines = [{"file_name": "1.png", "text": "one"}, {"file_name": "2.png", "text": ["two", "2"]}]
    text = "\n".join([*map(json.dumps, lines), "{broken", ""])
    table(hugging, text, "train/metadata.jsonl")
    assert captions(hugging) == {"train/1.png": "one", "train/2.png": "two"}
    broken = [r for r in rows(hugging) if r.reason == "sample.bad_row"]
    assert [(r.shard, r.offset) for r in broken] == [("train/metadata.jsonl", 3)]
    coco = tmp_path / "coco"
    put(coco, "val2017/0007.jpg")
    images = [{"id": 7, "file_name": "0007.jpg"}]
    told = [{"image_id": 7, "caption": "one"}, {"image_id": 7, "caption": "two"}]
    (coco / "annotations").mkdir()
    table(
        coco, json.dumps({"images": images, "annotations": told}), "annotations/captions_val.json"
    )
    (found,) = rows(coco, captions="random")
    assert (found.key, found.captions) == ("val2017/0007.jpg", ("one", "two"))
    kohya = tmp_path / "kohya"
    put(kohya, "a.png", "b.png")
    put(kohya, "a.txt", content=b"a dog, best quality\n")
    assert reasons(kohya) == {"a.png": "", "b.png": "sample.missing_caption"}
    assert captions(kohya) == {"a.png": "a dog, best quality"}


def test_a_doubt_names_both_readings(tmp_path):
    put(tmp_path, "a.png")
    table(tmp_path, "file,caption\na.png,one\n")
    table(tmp_path, "file\tcaption\na.png\ttwo\n", "captions.TSV")
    with pytest.raises(DataError, match=r"captions\.TSV, captions\.csv.*source.captions_file"):
        rows(tmp_path)
    assert captions(tmp_path, captions_file="captions.TSV") == {"a.png": "two"}
    put(tmp_path, "both/a.png")
    write_plain_tar(tmp_path / "both/a.tar", sample_members("k", 1))
    with pytest.raises(DataError, match=r"1 tar and 1 image .*source.kind to webdataset or image"):
        rows(tmp_path / "both")
    assert found_in(tmp_path / "both") == {"webdataset": 1, "image_folder": 1}
    config = SourceConfig(path="", kind="webdataset")
    assert settled(config, tmp_path / "both").kind == "webdataset"


@pytest.mark.row("G9")
def test_a_long_caption_costs_its_own_row_alone(tmp_path):
    put(tmp_path, "a.png", "b.png")
    table(tmp_path, f"file\tcaption\na.png\t{'x' * 300_000}\nb.png\ta dog\n", "captions.tsv")
    assert {k: len(c) for k, c in captions(tmp_path).items()} == {"a.png": 300_000, "b.png": 5}
