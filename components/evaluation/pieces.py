"""The pieces that an evaluation's looking is made of: a batch of images, and who looks at it.

What is seen on a piece is a function of (model, data, nets, piece) alone, so other machines may
look at pieces ahead: `Bench.seen` holds what they saw. What nobody saw ahead is looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

AFTER, BEFORE = "after", "before"  # images of the trained generator, and of an untrained one
REAL, TRAINING = "real", "training"  # held-out images, and those that were trained on
SEEDS, ENLARGED = "seeds", "enlarged"  # each of them one piece: their images are few

# What a piece shows: {features by net} and, of drawn images, captions, texts and looks; or one of
# {seeds}, {measures}.
Seen = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Images [start, start + size) of one kind, and what looks at them.

    Attributes:
        of: the kind.
        start, size: positions in the stream of held-out rows, or of training rows.
        by: nets, as `Bench.nets` names them.
        truncation: psi of generated images.
        pictured: take looks, too.
        outlined: silhouettes as well.
    """

    of: str
    start: int = 0
    size: int = 0
    by: tuple[str, ...] = ()
    truncation: float = 1.0
    pictured: bool = False
    outlined: bool = False


def pieces_of(of: str, count: int, batch: int, by: Sequence[str], **more: Any) -> list[Piece]:
    """Return the pieces of the first `count` images of a kind."""
    return [
        Piece(of=of, start=start, size=min(batch, count - start), by=tuple(by), **more)
        for start in range(0, count, batch)
    ]
