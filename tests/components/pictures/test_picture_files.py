"""Where pictures go: nothing is replaced unasked, nothing is left half written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.errors import ConfigError, StorageError
from components.pictures.picture_files import check_target, file_name, save_folder, save_picture

IMAGE = np.full((4, 4, 3), 7, np.uint8)
ALL = ("picture", "animation", "folder")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", "picture"), ("a.JPG", "picture"), ("a.gif", "animation"), ("a.mp4", "animation"),
     ("new", "folder"), ("deep/er/", "folder")],
)  # fmt: skip
def test_the_suffix_says_what_is_wanted(tmp_path: Path, name: str, kind: str) -> None:
    assert check_target(tmp_path / name, ALL) == kind


@pytest.mark.parametrize("name", ["a.tiff", "a.mp5", "..", "."])
def test_what_cannot_be_saved_is_refused(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="cannot save this as"):
        check_target(Path(name), ALL)


def test_existing_things_are_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"mine")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(ConfigError, match=r"exists.*--force"):
        check_target(tmp_path / "a.png", ALL)
    assert check_target(tmp_path / "a.png", ALL, replace=True) == "picture"
    with pytest.raises(ConfigError, match="is a folder"):
        check_target(tmp_path / "b.png", ALL, replace=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        check_target(tmp_path / "file", ALL, replace=True)


def test_a_folder_is_replaced_only_when_it_is_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for seed in (1, 2):
        assert save_folder(out, [IMAGE], [{"prompt": "A red ring!", "seed": seed}]) == 1
    assert {p.name for p in out.iterdir()} == {"0000_a-red-ring_seed2.png", "index.jsonl"}
    with pytest.raises(ConfigError, match=r"holds pictures.*--force"):
        check_target(out, ALL)
    assert check_target(out, ALL, replace=True) == "folder"
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other files"):
        check_target(out, ALL, replace=True)


def test_the_index_tells_each_file(tmp_path: Path) -> None:
    records = [
        {"prompt": "gr\u00fcn", "seed": 3, "psi": 0.5},
        {"prompt": None, "seed": 4, "psi": 1},
    ]
    save_folder(tmp_path / "out", [IMAGE, IMAGE + 1], records)
    lines = (tmp_path / "out" / "index.jsonl").read_text(encoding="utf-8").splitlines()
    read = [json.loads(line) for line in lines]
    assert [r["file"] for r in read] == ["0000_grun_seed3.png", "0001_seed4.png"]
    assert [{k: v for k, v in r.items() if k != "file"} for r in read] == records
    with Image.open(tmp_path / "out" / read[1]["file"]) as image:
        assert np.array_equal(np.asarray(image), IMAGE + 1)


def test_names_are_short_and_safe() -> None:
    name = file_name(12, {"prompt": "../../etc/\u4e2d " + "x" * 500, "seed": 0})
    assert name.startswith("0012_etc-xxx")
    assert len(name) < 80


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    def broken():
        yield IMAGE
        raise RuntimeError("the generator failed")

    records = [{"prompt": "a", "seed": i} for i in range(2)]
    with pytest.raises(RuntimeError):
        save_folder(tmp_path / "new" / "out", broken(), records)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot write there"):
        save_picture(Image.fromarray(IMAGE), tmp_path / "file" / "a.png")
    with pytest.raises(ConfigError, match="20000 x 1 px"):
        save_picture(Image.new("RGB", (20_000, 1)), tmp_path / "a.webp")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
