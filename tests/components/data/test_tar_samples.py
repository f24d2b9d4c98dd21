"""Tars as they come: hostile headers, several in one file, names and captions of every kind."""

import io
import json
import os
import tarfile

import pytest

from components.data.config import SourceConfig
from components.data.sources import ImageReader
from tests.components.data.makers import sample_members, write_plain_tar
from tests.components.data.test_sources import reasons_of, records_of, whole_tar


@pytest.mark.row("G2")
def test_several_tars_in_one_file_and_padding(tmp_path):
    first, second = whole_tar(1)[0], whole_tar(2)[0]
    (tmp_path / "a.tar").write_bytes(first + second)
    write_plain_tar(tmp_path / "b.tar", sample_members("m", 1))
    with open(tmp_path / "b.tar", "ab") as file:
        file.write(bytes(9_999))
    assert reasons_of(tmp_path) == {"k0": "", "<a.tar>": "shard.trailing_data", "m": ""}


@pytest.mark.row("G1")
def test_what_is_no_regular_file_is_never_opened(tmp_path):
    """A pipe would hang, a device never end; the tar beside them is whole."""
    write_plain_tar(tmp_path / "good.tar", sample_members("a", 1))
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "zero.tar").symlink_to("/dev/zero")
    (tmp_path / "gone.tar").symlink_to("nowhere")
    (tmp_path / "folder.tar").mkdir()
    lost = {f"<{name}.tar>": "shard.unreadable" for name in ("pipe", "zero", "gone")}
    assert reasons_of(tmp_path) == {"a": ""} | lost


@pytest.mark.row("G1")
@pytest.mark.parametrize("size", [2**62, 2**40, 30 * 2**30])
def test_no_size_of_a_header_is_believed(tmp_path, size):
    info = tarfile.TarInfo("b.png")
    info.size = size
    data = whole_tar(1)[0][: whole_tar(1)[1][-1]] + info.tobuf(tarfile.GNU_FORMAT) + bytes(1_024)
    (tmp_path / "a.tar").write_bytes(data)
    assert reasons_of(tmp_path) == {"k0": "", "b": "shard.truncated"}


def test_members_of_the_system_are_skipped_and_counted(tmp_path):
    good = [m for i in range(3) for m in sample_members(f"d/k{i}", i)]
    other = [(f"d/._{name[2:]}", b"attributes") for name, _ in good]
    mixed = [member for pair in zip(good, other, strict=True) for member in pair]
    write_plain_tar(tmp_path / "a.tar", [("__MACOSX/x.png", b"x"), *mixed])
    found = reasons_of(tmp_path)
    assert {k for k, r in found.items() if not r} == {"d/k0", "d/k1", "d/k2"}
    assert [r for r in found.values() if r] == ["entry.hidden"] * 7


@pytest.mark.row("G10")
def test_names_that_are_no_utf8_stay_distinct(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for byte in (b"\xe9", b"\xe8"):
            for name, content in sample_members("caf", byte[0]):
                info = tarfile.TarInfo(name.replace("f", "f" + os.fsdecode(byte)))
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (tmp_path / os.fsdecode(b"sh\xff.tar")).write_bytes(buffer.getvalue())
    found = records_of(tmp_path)
    assert {r.key: str(r.reason) for r in found} == {"caf\\xe9": "", "caf\\xe8": ""}
    with ImageReader(SourceConfig(path=""), tmp_path) as reader:
        assert reader.read(found[0].shard, found[0].offset, len(found[0].image)) == found[0].image


def test_the_members_of_a_sample_are_a_setting(tmp_path):
    members = [("k.input.jpg", b"i"), ("k.depth.png", b"d"), ("k.outputs.txt", b"words")]
    write_plain_tar(tmp_path / "a.tar", members)
    assert reasons_of(tmp_path) == {"k": "sample.missing_image"}
    fields = {"image_member": "input.jpg", "caption_member": "outputs.txt"}
    (found,) = records_of(tmp_path, **fields)
    assert (found.image, found.caption, found.reason) == (b"i", "words", "")


@pytest.mark.parametrize(
    ("told", "captions", "reason"),
    [
        (b'["a woman", "a girl"]', ["a woman", "a girl"], ""),
        (b'{"en": "a woman"}', [""], "caption.type"),
        (b"true", [""], "caption.type"),
        (b"7", [""], "caption.type"),
        (b"[]", [""], "caption.type"),
        (b"null", [""], "sample.missing_caption"),
    ],
)
def test_captions_of_json_are_texts_or_lists_of_texts(tmp_path, told, captions, reason):
    write_plain_tar(tmp_path / "a.tar", [("a.png", b"i"), ("a.json", b'{"caption": %s}' % told)])
    found = records_of(tmp_path, captions="each")
    assert [r.caption for r in found] == captions and str(found[0].reason) == reason


def test_several_captions_of_one_picture(tmp_path):
    lines = b"one dog\ntwo dogs\n\n one  dog \nthree\n"
    facts = json.dumps({"caption": ["fine", 3, "also"]}).encode()
    write_plain_tar(
        tmp_path / "a.tar",
        [("a.png", b"i"), ("a.txt", lines), ("b.png", b"j"), ("b.json", facts)],
    )
    found = {r.key: (r.caption, r.captions, str(r.reason)) for r in records_of(tmp_path)}
    bad = ("", (), "caption.type")  # counted, though the picture is used
    assert found == {"a": ("one dog", (), ""), "b": ("fine", (), ""), "b#2": bad}
    each = [r for r in records_of(tmp_path, captions="each") if not r.reason]
    # The side of the split goes by the group, else by the key.
    assert [r.group or r.key for r in each] == ["a", "a", "a", "b", "b"]
    every = {r.key: r.caption for r in each}
    assert every == {"a": "one dog", "a#2": "two dogs", "a#4": "three", "b": "fine", "b#3": "also"}
    several = {r.key: r.captions for r in records_of(tmp_path, captions="random") if not r.reason}
    assert several == {"a": ("one dog", "two dogs", "three"), "b": ("fine", "also")}
