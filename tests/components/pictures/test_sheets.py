"""Sheets: every image is there, unchanged, and captions take room below it."""

from __future__ import annotations

import numpy as np
import pytest

from components.pictures.sheets import GAP_PX, MARGIN_PX, image_grid, lettering


def _images(count: int, side: int = 100) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


def test_each_image_stands_in_its_cell() -> None:
    images = _images(5)
    sheet = np.asarray(image_grid(images, 3))
    for index, image in enumerate(images):
        row, column = divmod(index, 3)
        top, left = MARGIN_PX + row * (100 + GAP_PX), MARGIN_PX + column * (100 + GAP_PX)
        assert np.array_equal(sheet[top : top + 100, left : left + 100], image)
    assert sheet.shape == (2 * MARGIN_PX + 200 + GAP_PX, 2 * MARGIN_PX + 300 + 2 * GAP_PX, 3)


def test_small_images_are_enlarged_by_whole_pixels() -> None:
    image = _images(1, side=32)
    sheet = np.asarray(image_grid(image, 1))
    cell = sheet[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    assert np.array_equal(cell[::3, ::3], image[0])


@pytest.mark.parametrize("captions", [["one row", "two"], ["a", "b", "c", "d"]])
def test_captions_are_written_below(captions: list[str]) -> None:
    images = _images(4)
    plain, written = image_grid(images, 2), image_grid(images, 2, captions)
    assert written.width == plain.width
    assert written.height > plain.height + 20
    below = np.asarray(written)[MARGIN_PX + 100 : MARGIN_PX + 118]
    assert below.min() < 128, "ink under the first row"


def test_any_caption_fits() -> None:
    long = "word " * 400
    sheet = image_grid(_images(2), 1, [long, "x" * 5000])
    assert sheet.width == 2 * MARGIN_PX + 100
    border = np.asarray(sheet)[:, -MARGIN_PX // 2 :]
    assert border.min() == 255, "nothing is written over the margin"


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
    ],
)
def test_what_is_not_images_is_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="image"):
        image_grid(images, 2)


def test_a_wrong_number_of_captions_is_refused() -> None:
    with pytest.raises(ValueError, match="3 captions for 4 images in 2 rows"):
        image_grid(_images(4), 2, ["a", "b", "c"])


@pytest.mark.parametrize("letter", ["\u00e4", "\u00e9", "\u00df", "\u00f1", "\u0416", "\u03a9"])
def test_labels_have_the_letters_of_europe(letter):
    font = lettering(16)
    assert bytes(font.getmask(letter)) != bytes(font.getmask("\ufffe"))
