"""How much of the range of brightness an image uses."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from components.data.decode import Decoded
from components.data.records import Record
from components.data.scorers.base import ColumnScorer
from components.data.scorers.grey import grey_of


class Entropy(ColumnScorer):
    """Shannon's entropy of the 256 levels of brightness, in bits: 0 = one colour, 8 = all alike."""

    columns: ClassVar = {"entropy": pa.float64()}
    cost = "pixels"

    def of_sample(self, record: Record, image: Decoded) -> dict[str, Any]:
        """Return the entropy of an image."""
        counts = np.bincount(grey_of(image.image).astype(np.uint8).ravel(), minlength=256)
        share = counts[counts > 0] / counts.sum()
        return {"entropy": float(max(0.0, -(share * np.log2(share)).sum()))}
