"""How sharp an image is."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from components.data.decode import Decoded
from components.data.records import Record
from components.data.scorers.base import ColumnScorer
from components.data.scorers.grey import grey_of


class Sharpness(ColumnScorer):
    """Variance of the Laplacian of the brightness, in levels of 255 squared; 0 = flat.

    It is that of the image at 512 px at most, so that sizes compare. Pech-Pacheco et al. 2000.
    """

    columns: ClassVar = {"sharpness": pa.float64()}
    cost = "pixels"

    def of_sample(self, record: Record, image: Decoded) -> dict[str, Any]:
        """Return the sharpness of an image; 0 where it is smaller than 3 x 3."""
        grey = grey_of(image.image)
        if min(grey.shape) < 3:
            return {"sharpness": 0.0}
        around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
        return {"sharpness": float((around - 4 * grey[1:-1, 1:-1]).var())}
