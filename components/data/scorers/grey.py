"""Grey pictures of a size that does not depend on the file, for facts about pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

LONGER_SIDE_PX = 512


def grey_of(pixels_HWC: np.ndarray) -> np.ndarray:
    """Return brightness in [0, 255], the longer side at most 512 px, float64 [H, W]."""
    image = Image.fromarray(pixels_HWC).convert("L")
    if max(image.size) > LONGER_SIDE_PX:
        image.thumbnail((LONGER_SIDE_PX, LONGER_SIDE_PX), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64)
