"""The target image of an inversion: read from any file, cut to its middle square, resized."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.data.decode import Decoded, centre_square, decode
from components.errors import DataError


def read_target(path: Path, resolution: int) -> tuple[np.ndarray, str]:
    """Return uint8 [resolution, resolution, 3], and what was done to the file; '' for nothing.

    Raises:
        DataError: the file is missing, or no image that can be read.
    """
    try:
        outcome = decode(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"the image is not readable: {error.strerror}", str(path), "name a file"
        ) from error
    if not isinstance(outcome, Decoded):
        raise DataError(
            f"not an image: {outcome.value}", str(path), "give a JPEG, a PNG or a WebP file"
        )
    done = ""
    if (outcome.width, outcome.height) != (resolution, resolution):
        cut = "" if outcome.width == outcome.height else "cut to its middle square, "
        done = f"{outcome.width} x {outcome.height} px: {cut}resized to {resolution} x {resolution}"
    return np.array(centre_square(outcome.pixels_HWC, resolution)), done  # writable
