"""A folder of pictures that a person chose: a few files, each of which has to be readable."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from components.data.decode import Decoded, decode
from components.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def picture_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder by name.

    Raises:
        DataError: there is no such folder, or no picture in it.
    """
    where = str(folder)
    if not folder.is_dir():
        raise DataError("there is no such folder of pictures", where, "name a folder")
    found = sorted(x for x in folder.iterdir() if x.suffix.lower() in SUFFIXES and x.is_file())
    if not found:
        wanted = ", ".join(SUFFIXES)
        raise DataError("the folder holds no picture", where, f"put {wanted} files into it")
    return found


def read_whole(path: Path) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3], upright; DataError when it cannot be read."""
    try:
        outcome = decode(path.read_bytes())
    except OSError as error:
        todo = "give a file that can be read"
        raise DataError(f"not readable: {error.strerror}", str(path), todo) from error
    if not isinstance(outcome, Decoded):
        todo = "give a JPEG, a PNG or a WebP file"
        raise DataError(f"not an image: {outcome.value}", str(path), todo)
    return outcome.pixels_HWC


def read_picture(path: Path) -> np.ndarray:
    """Return the middle square of a picture, uint8 [S, S, 3]; DataError when it cannot be read."""
    pixels_HWC = read_whole(path)
    height, width = pixels_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels_HWC[top : top + side, left : left + side]


def pictures_hash(folder: Path) -> str:
    """Return one hash of the pictures' bytes, in the order of their names; errors as above."""
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in picture_files(folder)]
    return hashlib.sha256(b"".join(digests)).hexdigest()
