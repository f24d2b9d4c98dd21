"""Grey pictures of a size that does not depend on the file, for facts about pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

LONGER_SIDE_PX = 512


def grey_of(image: Image.Image) -> np.ndarray:
    """Return brightness in [0, 255], the longer side at most 512 px, float64 [H, W]."""
    grey = image.convert("L")
    if max(grey.size) > LONGER_SIDE_PX:
        grey.thumbnail((LONGER_SIDE_PX, LONGER_SIDE_PX), Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.float64)
