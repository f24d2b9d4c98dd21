"""Write a PNG row by row, so that a picture of any size is never in memory as a whole.

Pillow, which writes all other pictures, wants the whole of it first. Format: W3C, Portable Network
Graphics, third edition; each row holds its difference to the row above (filter 2).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _DEPTH, _UP = 2, 8, 2


def write_png_rows(path: Path, width: int, height: int, strips: Iterable[np.ndarray]) -> None:
    """Write strips [h, width, 3] of uint8, together `height` rows, from the top.

    Args:
        path: of the file; overwritten.
        width, height: of the picture.
        strips: read one by one.
    """
    packer, above, rows = zlib.compressobj(), np.zeros((1, 3 * width), np.uint8), 0
    with path.open("wb") as file:
        file.write(SIGNATURE)
        sizes = struct.pack(">IIBBBBB", width, height, _DEPTH, _RGB, 0, 0, 0)
        file.write(_chunk(b"IHDR", sizes))
        for strip in strips:
            lines = strip.reshape(len(strip), 3 * width)
            filtered = np.full((len(lines), 1 + 3 * width), _UP, np.uint8)
            filtered[:, 1:] = lines - np.concatenate([above, lines[:-1]])  # modulo 256
            above, rows = lines[-1:].copy(), rows + len(lines)
            if packed := packer.compress(filtered.tobytes()):
                file.write(_chunk(b"IDAT", packed))
        file.write(_chunk(b"IDAT", packer.flush()))
        file.write(_chunk(b"IEND", b""))
    assert rows == height, f"{rows} rows of {height}"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
