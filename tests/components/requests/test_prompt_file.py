"""A file of prompts: each line is a prompt or is reported with its number; bad files: one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import ConfigError
from components.requests.prompt_file import read_prompts


def test_every_line_is_a_prompt_or_reported(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    content = "\ufeffa ring\r\n\r\n  a star \n" + "x" * 4_001 + "\n\u2028 \nein gr\u00fcner Stern"
    path.write_bytes(content.encode("utf-8"))
    read = read_prompts(path)
    assert read.prompts == ("a ring", "a star", "ein gr\u00fcner Stern")
    assert read.blank == (2, 5)
    assert read.bad == ((4, "prompt has 4001 characters"),)
    assert read.remarks() == [
        f"{path}: 2 blank lines left out (lines 2, 5)",
        f"{path}: 1 bad line left out (line 4); line 4: prompt has 4001 characters",
    ]


def test_a_long_list_of_lines_is_counted(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\n" + "\n" * 30)
    (remark,) = read_prompts(tmp_path / "p.txt").remarks()
    assert "30 blank lines" in remark
    assert remark.endswith("10, 11 and 20 more)")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no such file"),
        (b"", "no prompt in the file"),
        (b"\n \n", "no prompt in the file (2 blank lines left out (lines 1, 2))"),
        (b"\x89PNG\0\0", "the file is binary"),
        (b"good\nb\xe4d\n", "line 2 is not UTF-8"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "p.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_prompts(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        read_prompts(tmp_path)
