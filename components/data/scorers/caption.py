"""Facts about captions; of several captions the worst value counts."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa

from components.data.decode import Decoded
from components.data.records import Record
from components.data.scorers.base import ColumnScorer


class Caption(ColumnScorer):
    """Words of the caption, the share of distinct ones, and the share of letters.

    caption_words counts what stands between blanks. caption_distinct is low where a text repeats
    itself, caption_letters where it is a file name, a number or a row of signs; both are 1 at best.
    """

    columns: ClassVar = {
        "caption_words": pa.int32(),
        "caption_distinct": pa.float64(),
        "caption_letters": pa.float64(),
    }

    def of_sample(self, record: Record, image: Decoded) -> dict[str, Any]:
        """Return the facts about a sample's captions."""
        texts = record.captions or (record.caption,)
        words = [text.casefold().split() for text in texts]
        distinct = [len(set(some)) / len(some) if some else 0.0 for some in words]
        return {
            "caption_words": min(map(len, words)),
            "caption_distinct": min(distinct),
            "caption_letters": min(map(_letters, texts)),
        }


def _letters(text: str) -> float:
    shown = [sign for sign in text if not sign.isspace()]
    return sum(map(str.isalpha, shown)) / len(shown) if shown else 0.0
