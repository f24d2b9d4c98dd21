"""PNG files of our own: Pillow, which did not write them, reads the same pixels."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.png import encode_png, write_png_rows


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(side: int) -> np.ndarray:
    """Soft noise of two sizes."""
    coarse = Image.fromarray(noise(5, 5)).resize((side, side), Image.Resampling.BICUBIC)
    fine = noise(side, side) // 16
    return (np.asarray(coarse) // 2 + fine).astype(np.uint8)


def drawing(side: int) -> np.ndarray:
    image = Image.new("RGB", (side, side), "red")
    image.paste((0, 0, 255), (side // 8, side // 6, side // 2, side - 3))
    return np.asarray(image)


PICTURES = {
    "a pixel": noise(1, 1),
    "a row": noise(1, 70),
    "a column": noise(70, 1),
    "noise": noise(33, 70),
    "extremes": noise(9, 12) // 128 * 255,
    "a small photo": photo(64),
    "a large photo": photo(300),
    "a drawing": drawing(64),
    "a large drawing": drawing(300),
    "every second column": np.tile(noise(20, 40), (2, 1, 1))[:, ::2],
    "upside down": photo(40)[::-1],
}


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_are_read_back(name: str) -> None:
    pixels = PICTURES[name]
    file = encode_png(pixels)
    Image.open(io.BytesIO(file)).verify()
    found = Image.open(io.BytesIO(file))
    assert found.mode == "RGB" and np.array_equal(np.asarray(found), pixels)
    assert encode_png(pixels.copy()) == file


@pytest.mark.parametrize("name", ["a small photo", "a large photo", "a drawing", "a large drawing"])
def test_files_are_hardly_larger_than_those_of_every_filter(name: str) -> None:
    usual = io.BytesIO()
    Image.fromarray(PICTURES[name]).save(usual, "PNG", compress_level=1)
    assert len(encode_png(PICTURES[name])) <= 1.05 * len(usual.getvalue()) + 32


def test_rows_of_a_png_are_read_back(tmp_path: Path) -> None:
    pixels = noise(70, 33)
    strips = (pixels[start : start + 13] for start in range(0, 70, 13))
    write_png_rows(tmp_path / "x.png", 33, 70, strips)
    found = Image.open(tmp_path / "x.png")
    found.verify()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), pixels)


@pytest.mark.parametrize("equal", [0, 1, 2, 3, 4, 5, 8])
def test_a_picture_is_a_drawing_from_a_quarter_of_equal_neighbours_on(equal: int) -> None:
    row = np.arange(9, dtype=np.uint8)[:, None] * np.array([20, 0, 0], np.uint8)  # eight pairs
    for place in range(equal):
        row[place + 1] = row[place]
    if equal == 3:
        row[:, 2] = np.arange(9) * 9  # one colour differs: no pair is equal
    file = encode_png(np.stack([row] * 4))
    packed = file[file.index(b"IDAT") + 4 : file.index(b"IEND") - 8]
    up, average = 2, 3  # filters of the rows
    assert zlib.decompress(packed)[0] == (up if equal >= 2 and equal != 3 else average)
