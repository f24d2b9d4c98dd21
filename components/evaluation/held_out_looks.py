"""What can be seen of held-out images without a network, and what each of them shows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.evaluation.alignment import same_caption
from components.evaluation.config import EvaluateConfig
from components.evaluation.features import held_out
from components.evaluation.looks import Looks
from components.evaluation.silhouettes import Outlines
from components.sampling import to_uint8
from models.interfaces import Batch

MOST = 2000  # images

Read = Callable[[str], Mapping[str, str] | None]


@dataclass(frozen=True, kw_only=True)
class HeldOutLooks:
    """Of the first held-out images, at most `MOST`.

    Attributes:
        looks: silhouettes and small pictures.
        shown: equal for images that show the same: attributes, class or caption.
        outlines: their mean outlines; None where no caption tells of a shape.
    """

    looks: Looks
    shown: list[Hashable]
    outlines: Outlines | None

    @classmethod
    def of(cls, source: Any, config: EvaluateConfig, read: Read) -> HeldOutLooks:
        """Look at the held-out images of a source.

        Args:
            source: a BatchSource of the held-out rows.
            config: counts.
            read: caption or name of a class -> the attributes that it tells of, None for none.
        """
        count = min(source.num_rows, config.num_real, MOST)
        parts: list[Looks] = []
        shown: list[Hashable] = []
        for rows in held_out(source, count, config.batch):
            assert rows.image_NCHW is not None, "a held-out row has an image"
            images, outlined = to_uint8(rows.image_NCHW), any(_shapes(rows.captions, read))
            parts.append(Looks.of(images, rows.captions, outlined=outlined))
            shown += _shown(rows, read)
        looks = Looks.joined(parts)
        shapes = _shapes(looks.captions, read)
        named = [i for i, shape in enumerate(shapes) if shape and looks.outlines[i] is not None]
        outlines = None
        if named:
            outlines = Outlines.of([looks.outlines[i] for i in named], [shapes[i] for i in named])
        return cls(looks=looks, shown=shown, outlines=outlines)


def _shapes(captions: Sequence[str], read: Read) -> list[str]:
    """Return the shape that each caption tells of, "" for none."""
    return [(read(caption) or {}).get("shape", "") for caption in captions]


def _shown(rows: Batch, read: Read) -> list[Hashable]:
    """Return what each row shows: its attributes, its class, or the words of its caption."""
    if not rows.captions:
        label_N = rows.condition.label_N
        return [None] * rows.size if label_N is None else label_N.tolist()
    told = [read(caption) for caption in rows.captions]
    return [
        tuple(sorted(values.items())) if values else same_caption(caption)
        for values, caption in zip(told, rows.captions, strict=True)
    ]
