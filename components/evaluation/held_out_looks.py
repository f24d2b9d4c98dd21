"""What can be seen of held-out images without a network, and what each of them shows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.evaluation.alignment import same_caption
from components.evaluation.config import EvaluateConfig
from components.evaluation.features import held_out
from components.evaluation.looks import Looks
from components.evaluation.silhouettes import Outlines, Silhouette
from components.sampling import to_uint8
from models.interfaces import Batch

IMAGES_LIMIT = 2000

Read = Callable[[str], Mapping[str, str] | None]


@dataclass(frozen=True, kw_only=True)
class HeldOutLooks:
    """Of the first held-out images, at most `IMAGES_LIMIT`.

    Attributes:
        looks: silhouettes and small pictures.
        shown: equal for images that show the same: attributes, class or caption; None = unknown.
        outlines: their mean outlines; None where no caption tells of one shape.
        named_right: share of these images that outlines of the others name right.
    """

    looks: Looks
    shown: list[Hashable]
    outlines: Outlines | None
    named_right: float

    @classmethod
    def of(cls, source: Any, config: EvaluateConfig, read: Read) -> HeldOutLooks:
        """Look at the held-out images of a source.

        Args:
            source: a BatchSource of the held-out rows.
            config: counts.
            read: caption or name of a class -> the attributes that it tells of, None for none.
        """
        count = min(source.num_rows, config.num_real, IMAGES_LIMIT)
        parts: list[Looks] = []
        shown: list[Hashable] = []
        for rows in held_out(source, count, config.batch):
            assert rows.image_NCHW is not None, "a held-out row has an image"
            images, outlined = to_uint8(rows.image_NCHW), any(_shapes(rows.captions, read))
            parts.append(Looks.of(images, rows.captions, outlined=outlined))
            shown += what_is_shown(rows, read)
        looks = Looks.joined(parts)
        shapes = _shapes(looks.captions, read)
        named = [(looks.outlines[i], shape) for i, shape in enumerate(shapes) if shape]
        if not any(found for found, _ in named):
            return cls(looks=looks, shown=shown, outlines=None, named_right=0.0)
        outlines = Outlines.of(*zip(*named, strict=True))
        return cls(looks=looks, shown=shown, outlines=outlines, named_right=_named_right(named))


def _named_right(named: Sequence[tuple[Silhouette | None, str]]) -> float:
    """Return the share that the mean outlines of each half name right in the other half."""
    right = 0
    for known, asked in ((named[::2], named[1::2]), (named[1::2], named[::2])):
        if any(found for found, _ in known):
            outlines = Outlines.of(*zip(*known, strict=True))
            right += sum(outlines.name(found) == shape for found, shape in asked)
    return right / len(named)


def _shapes(captions: Sequence[str], read: Read) -> list[str]:
    """Return the shape that each caption tells of, "" for none; two objects have no one outline."""
    told = [read(caption) or {} for caption in captions]
    return ["" if "shape_2" in values else values.get("shape", "") for values in told]


def what_is_shown(rows: Batch, read: Read) -> list[Hashable]:
    """Return what each row shows: its attributes, its class, or the words of its caption."""
    if not any(rows.captions):
        label_N = rows.condition.label_N
        return [None] * rows.size if label_N is None else label_N.tolist()
    told = [read(caption) for caption in rows.captions]
    return [
        tuple(sorted(values.items())) if values else same_caption(caption) or None
        for values, caption in zip(told, rows.captions, strict=True)
    ]
