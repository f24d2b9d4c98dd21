"""Reading a small file of at most so many bytes takes memory for the file, not for the most."""

import tracemalloc

import pytest

from components.data.file_tree import read_regular
from models.untrusted.json_file import read_json

MANY = 64 * 2**20


def peak_of(work):
    """Return what `work` gives, and the most bytes of Python's memory that it took."""
    tracemalloc.start()
    try:
        found = work()
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read", [read_json, read_regular])
def test_a_small_file_takes_little_memory(tmp_path, read):
    """A run that has just met the end of its memory reads its own small lists."""
    (tmp_path / "a.json").write_text('{"a": 1}')
    found, peak = peak_of(lambda: read(tmp_path / "a.json", MANY))
    assert found in ({"a": 1}, b'{"a": 1}')
    assert peak < 2**20


@pytest.mark.parametrize(("most", "found"), [(7, None), (8, b'{"a": 1}')])
def test_a_regular_file_of_more_bytes_is_none(tmp_path, most, found):
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_regular(tmp_path / "a.json", most) == found
