"""Every row of the fault matrix is held by a test, or says why it is not."""

from tests.house_source import ROOT
from tests.reliability import OPEN, ROWS, marked_rows, page


def test_every_row_has_a_test_and_every_marker_a_row():
    marked = set(marked_rows())
    assert sorted(set(ROWS) - marked) == [], "rows without a test"
    assert sorted(marked - set(ROWS)) == [], "markers without a row"
    assert not set(ROWS) & set(OPEN)


def test_no_row_of_the_matrix_is_left_out():
    counts = {"A": 23, "B": 24, "C": 8, "D": 7, "E": 7, "F": 5}
    matrix = {f"{kind}{n}" for kind, count in counts.items() for n in range(1, count + 1)}
    assert sorted(matrix - set(ROWS) - set(OPEN)) == []


def test_the_page_is_what_the_markers_say():
    shown = (ROOT / "tests" / "RELIABILITY.md").read_text(encoding="utf-8")
    assert shown == page(), "run `python -m tests.reliability > tests/RELIABILITY.md`"
