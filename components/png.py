"""Write PNG files of RGB pixels, quickly or row by row; the same pixels give the same bytes.

Pillow, which reads them and writes all other pictures, tries every filter on every row, which takes
most of its time, and wants the whole picture first. Format: W3C, Portable Network Graphics, third
edition, sections 5 and 9.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _DEPTH, _UP, _AVERAGE = 2, 8, 2, 3
_QUICKEST, _WINDOW, _MEMORY = 1, 15, 9  # of zlib

# A drawing: of so many rows at most, at least this share of pixels equals the one to the left.
_ROWS_SEEN, _DRAWN = 16, 0.25


def encode_png(pixels_HWC: np.ndarray) -> bytes:
    """Return a PNG of uint8 pixels [H, W, 3].

    A photograph's rows hold differences to the mean of left and upper neighbour, and are packed as
    bytes by themselves: in a photograph nothing comes twice. A drawing's hold differences to the
    row above, and are searched for what was there before.
    """
    height, width, _ = pixels_HWC.shape
    lines = np.ascontiguousarray(pixels_HWC, dtype=np.uint8).reshape(height, 3 * width)
    if _is_drawing(pixels_HWC):
        first = np.zeros((1, 3 * width), np.uint8)
        filtered, strategy = _up(lines, first), zlib.Z_FILTERED
    else:
        filtered, strategy = _average(lines), zlib.Z_HUFFMAN_ONLY
    packer = zlib.compressobj(_QUICKEST, zlib.DEFLATED, _WINDOW, _MEMORY, strategy)
    packed = packer.compress(filtered.data) + packer.flush()
    return b"".join(
        (SIGNATURE, _header(width, height), _chunk(b"IDAT", packed), _chunk(b"IEND", b""))
    )


def write_png_rows(path: Path, width: int, height: int, strips: Iterable[np.ndarray]) -> None:
    """Write strips [h, width, 3] of uint8, together `height` rows, from the top.

    A picture of any size is never in memory as a whole.

    Args:
        path: of the file; overwritten.
        width, height: of the picture.
        strips: read one by one.
    """
    packer, above, rows = zlib.compressobj(), np.zeros((1, 3 * width), np.uint8), 0
    with path.open("wb") as file:
        file.write(SIGNATURE)
        file.write(_header(width, height))
        for strip in strips:
            lines = strip.reshape(len(strip), 3 * width)
            filtered = _up(lines, above)
            above, rows = lines[-1:].copy(), rows + len(lines)
            if packed := packer.compress(filtered.data):
                file.write(_chunk(b"IDAT", packed))
        file.write(_chunk(b"IDAT", packer.flush()))
        file.write(_chunk(b"IEND", b""))
    assert rows == height, f"{rows} rows of {height}"


def _up(lines: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Return rows [h, 1 + 3W]: the filter's number, then the difference to the row above."""
    filtered = np.full((len(lines), 1 + lines.shape[1]), _UP, np.uint8)
    filtered[:, 1:] = lines - np.concatenate([above, lines[:-1]])  # modulo 256
    return filtered


def _average(lines: np.ndarray) -> np.ndarray:
    """Return rows [h, 1 + 3W]: the filter's number, then the difference to the mean of the pixels
    to the left and above, rounded down.
    """
    height, width = lines.shape
    padded = np.zeros((1 + height, 3 + width), np.uint8)
    padded[1:, 3:] = lines
    left, above = padded[1:, :-3], padded[:-1, 3:]
    mean = (left & above) + ((left ^ above) >> 1)  # without the carry that a byte has no room for
    filtered = np.full((height, 1 + width), _AVERAGE, np.uint8)
    np.subtract(lines, mean, out=filtered[:, 1:])  # modulo 256
    return filtered


def _is_drawing(pixels_HWC: np.ndarray) -> bool:
    """Tell whether many pixels equal the one beside them, in some of the rows."""
    some = pixels_HWC[:: max(1, len(pixels_HWC) // _ROWS_SEEN)]
    red, green, blue = np.moveaxis(some[:, 1:] == some[:, :-1], 2, 0)
    equal = red & green & blue  # quicker than all() over three
    return bool(equal.size and np.count_nonzero(equal) >= _DRAWN * equal.size)


def _header(width: int, height: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, _DEPTH, _RGB, 0, 0, 0))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
