"""CLIP's embedding of the image itself, for copies in meaning and for work outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from components.data.scorers.base import ColumnScorer


class Embedding(ColumnScorer):
    """The L2-normalised embedding, float16 [D]."""

    columns: ClassVar = {"clip_embedding": pa.list_(pa.float16())}
    cost, device, embeds = "net", "net", True

    def of_embeddings(self, embedding_ND: np.ndarray) -> dict[str, Sequence[Any]]:
        """Return the embeddings of a batch, half as exact."""
        return {"clip_embedding": list(embedding_ND.astype(np.float16))}
