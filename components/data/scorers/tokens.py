"""How long a caption is for CLIP, which reads no further than its context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa

from components.data.scorers.base import ColumnScorer, EmbeddingNet


class Tokens(ColumnScorer):
    """Tokens of the caption, start and end included, before any is cut; of several the most."""

    columns: ClassVar = {"caption_tokens": pa.int32()}
    device, reads = "net", True

    def of_captions(
        self, captions: Sequence[Sequence[str]], net: EmbeddingNet
    ) -> dict[str, Sequence[Any]]:
        """Return the number of tokens of each sample of a batch."""
        return {"caption_tokens": [max(net.lengths(texts)) for texts in captions]}
