"""Captions, members, shards and tables as nobody wants them."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.data.config import SourceConfig
from tests.components.data.makers import FlatNet, encoded, picture, sample_members, write_plain_tar
from tests.data_zoo.animals import Animal, Members, captions, images, raw, tar

PARQUET = SourceConfig(path="", kind="parquet", file_column="image", heldout_fraction=0.2)


def mixed(share: int) -> Animal:
    """4 shards of 25 samples, of which `share` percent are cut."""

    def make(folder: Path) -> None:
        for shard in range(4):
            members: Members = []
            for number in range(25 * shard, 25 * shard + 25):
                pair = sample_members(f"k{number}", number)
                if number * 37 % 100 < share:
                    pair = [(pair[0][0], pair[0][1][:150]), pair[1]]
                members += pair
            write_plain_tar(folder / f"{shard}.tar", members)

    want = {"": 100 - share, "image.truncated": share}
    what = f"{share} of 100 samples in 4 shards are cut"
    return Animal("B1", what, make, {reason: count for reason, count in want.items() if count})


def copied() -> list[bytes]:
    first = picture(64)
    brighter = np.clip(first.astype(int) + 2, 0, 255).astype(np.uint8)
    jpeg = encoded(first, "JPEG", quality=95)
    return [encoded(first), encoded(first), jpeg, encoded(brighter), encoded(picture(64, 5))]


def whole_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for number in range(3):
            for name, content in sample_members(f"k{number}", number):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def cut_tar(folder: Path) -> None:
    """Cut in the last caption: two samples stand before, the third has lost it."""
    content = whole_tar()
    at = content.rindex(b"k2.txt")
    raw(content[: at + 512 + 4])(folder)


def unsafe(folder: Path) -> None:
    folder.mkdir(parents=True)
    with tarfile.open(folder / "a.tar", "w") as file:
        for number, name in enumerate(("../../x.png", "/etc/x.png")):
            info = tarfile.TarInfo(name)
            content = encoded(picture(seed=number))
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for name, kind in (("l.png", tarfile.SYMTYPE), ("d.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        for name, content in sample_members("good", 3):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def table(folder: Path) -> None:
    folder.mkdir(parents=True)
    values = [encoded(picture(seed=0)), None, encoded(picture(seed=1)), b"no image"]
    texts = ["a picture", "lost", None, "a text"]
    columns = {"image": pa.array(values, pa.binary()), "caption": texts}
    pq.write_table(pa.table(columns), folder / "a.parquet")


class NanNet(FlatNet):
    """Gives NaN for every second pair."""

    def similarity(self, images, captions):
        values = super().similarity(images, captions)
        values[::2] = np.nan
        return values


TEXTS = [b"", b"  \n ", b"\xff\xfe\xfa", "gr\u00fcn".encode("latin-1"), b"\xef\xbb\xbfwith a mark"]
TEXTS += [b"a" * 999, b"a" * 10_000, b"nul\0inside", b"=cmd|' /C calc'!A0", b"<script>x</script>"]
TEXTS += ["\U0001f600\U0001f600\U0001f600".encode(), "\u05e9\u05dc\u05d5\u05dd".encode(), b"ab"]

KEYS: Members = [
    *sample_members("good", 1),
    ("lone.txt", b"no image"),
    ("bare.png", encoded(picture(seed=2))),
    ("UPPER.PNG", encoded(picture(seed=3))),
    ("UPPER.TXT", b"upper case"),
    ("deep/er/x.png", encoded(picture(seed=4))),
    ("deep/er/x.txt", b"in folders"),
]
TWICE: Members = [*sample_members("k", 1), *sample_members("z", 2), *sample_members("k", 3)]
APART: Members = [*sample_members("k", 1)[:1], *sample_members("z", 2), *sample_members("k", 1)[1:]]

ANIMALS = [
    *(mixed(share) for share in (0, 1, 10, 50, 100)),
    Animal(
        "B10",
        "captions: empty, not UTF-8, marks, NUL, commands, signs, too long, too short",
        captions(TEXTS),
        {
            "": 7,
            "caption.empty": 2,
            "caption.encoding": 2,
            "filter.caption_long": 1,
            "filter.caption_short": 1,
        },
    ),
    Animal(
        "B11",
        "no image, no caption, upper case, folders",
        tar(KEYS),
        {"": 3, "sample.missing_image": 1, "sample.missing_caption": 1},
    ),
    Animal("B12", "a key twice in a shard", tar(TWICE), {"": 2, "sample.duplicate_key": 1}),
    Animal(
        "B13",
        "equal file, JPEG of it, 2 levels brighter",
        images(copied()),
        {"": 2, "filter.exact_duplicate": 1, "filter.near_duplicate": 2},
    ),
    Animal("B14", "no byte", raw(b""), {"shard.unreadable": 1}),
    Animal("B14", "only zeros", raw(bytes(10_240)), {"shard.empty": 1}),
    Animal("B14", "text", raw(b"x" * 5_000), {"shard.unreadable": 1}),
    Animal("B14", "gzip named .tar", raw(gzip.compress(whole_tar())), {"shard.compressed": 1}),
    Animal(
        "B14",
        "cut in the last caption: the two samples before are kept",
        cut_tar,
        {"": 2, "shard.truncated": 1},
    ),
    Animal(
        "B15",
        "names out of the folder, a link, a device: refused, nothing is written",
        unsafe,
        {"": 1, "shard.unsafe_member": 4},
    ),
    Animal(
        "B19",
        "null image, null caption, no image in a table",
        table,
        {
            "": 1,
            "sample.missing_image": 1,
            "sample.missing_caption": 1,
            "image.format": 1,
        },
        PARQUET,
    ),
    Animal(
        "B20",
        "a similarity that is NaN",
        images([encoded(picture(seed=i)) for i in range(6)]),
        {"": 3, "filter.score_nan": 3},
        net=NanNet(),
    ),
]
