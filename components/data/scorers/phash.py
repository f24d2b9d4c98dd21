"""Fingerprints by which copies are found."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from components.data.decode import Decoded
from components.data.fingerprints import overview, perceptual_hash, thumbnail
from components.data.records import Record
from components.data.scorers.base import ColumnScorer


class Phash(ColumnScorer):
    """A hash of 64 bits and a thumbnail of 8 x 8 pixels; near copies need both."""

    columns: ClassVar = {"phash": pa.int64(), "thumbnail": pa.binary()}

    def of_sample(self, record: Record, image: Decoded) -> dict[str, Any]:
        """Return hash and thumbnail of an image."""
        small = overview(image.image)
        return {"phash": perceptual_hash(small), "thumbnail": thumbnail(small)}
