"""A labelled table: every image in its cell, an empty cell is empty, labels leave ink."""

from __future__ import annotations

import numpy as np
import pytest

from components.pictures.labelled_grid import LABEL_PX, labelled_grid
from components.pictures.sheets import GAP_PX, MARGIN_PX

SIDE = 100


def test_each_image_stands_in_its_cell_and_labels_beside() -> None:
    images = np.random.default_rng(0).integers(0, 250, (3, SIDE, SIDE, 3)).astype(np.uint8)
    cells = [[None, images[0]], [images[1], images[2]]]
    sheet = np.asarray(labelled_grid(cells, ["", "a long label " * 30], ["seed 1", "psi 0.5"]))
    left, upper = MARGIN_PX + LABEL_PX + GAP_PX, sheet.shape[0] - MARGIN_PX - 2 * SIDE - GAP_PX
    for row, column, image in ((0, 1, images[0]), (1, 0, images[1]), (1, 1, images[2])):
        top, start = upper + row * (SIDE + GAP_PX), left + column * (SIDE + GAP_PX)
        assert np.array_equal(sheet[top : top + SIDE, start : start + SIDE], image)
    assert (sheet[upper : upper + SIDE, left : left + SIDE] == 255).all(), "the empty cell"
    assert sheet[:upper, left:].min() < 128, "labels above the columns"
    beside = sheet[upper:, : MARGIN_PX + LABEL_PX]
    assert (beside[:SIDE] == 255).all(), "a row without a label"
    assert beside[SIDE:].min() < 128, "a row with one"
    assert (sheet[-MARGIN_PX:] == 255).all(), "a long label is cut, not written over the margin"


def test_labels_must_fit() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="1 row and 2 column labels"):
        labelled_grid([[image]], ["a"], ["b", "c"])
