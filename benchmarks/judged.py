"""What is seen of images before and after a change: by the judge, by outlines, by a CLIP that did
not guide.

The judge names shape, colour, ground and size of the embedded drawings. Nothing that adapts or
edits reads it. Outlines judge shapes without a network. Legend: N images, E width of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ATTRIBUTES = ("background", "colour", "shape", "size")
NUM_DRAWINGS = 500  # that the mean outlines are made of
CHUNK = 250


@dataclass(frozen=True)
class Seen:
    """What is seen of N images.

    Attributes:
        values: attribute -> name of its value for each image.
        outlines: the shape that each outline is nearest to; "" for none.
        embeddings_NE: by the scorer, of unit length.
    """

    values: Mapping[str, Sequence[str]]
    outlines: Sequence[str]
    embeddings_NE: Tensor

    def shows(self, attribute: str, value: str) -> np.ndarray:
        """Return [N], whether each image shows a value."""
        return np.array([name == value for name in self.values[attribute]])


class Eyes:
    """The nets that look, opened once.

    Args:
        encoders: folder with the roles `judge` and `scorer`.
    """

    def __init__(self, encoders: Path) -> None:
        from components.data.synthetic import draw, sample_pairs
        from components.evaluation.nets import open_net
        from components.evaluation.silhouettes import Outlines, silhouettes

        self._judge = open_net(encoders, "judge").network
        self._scorer = open_net(encoders, "scorer").network
        pairs = sample_pairs(0, "outlines", range(NUM_DRAWINGS))
        shapes = [pairs.values(row)["shape"] for row in range(NUM_DRAWINGS)]
        self._outlines = Outlines.of(silhouettes(draw(pairs.attributes, pairs.generators)), shapes)

    @torch.no_grad()
    def look(self, images: np.ndarray) -> Seen:
        """Return what is seen of images, uint8 [N, H, W, 3]."""
        from components.evaluation.silhouettes import silhouettes
        from components.sampling import from_uint8
        from models.editing.clip_view import embedder

        embed, classes = embedder(self._scorer), self._judge.classes
        values: dict[str, list[str]] = {name: [] for name in ATTRIBUTES}
        embeddings = []
        for start in range(0, len(images), CHUNK):
            part_NCHW = from_uint8(images[start : start + CHUNK])
            logits = self._judge(part_NCHW)
            for name, found in values.items():
                found += [classes[name][int(i)] for i in logits[name].argmax(dim=1)]
            embeddings.append(embed(part_NCHW))
        outlines = [self._outlines.name(found) for found in silhouettes(images)]
        return Seen(values, outlines, torch.cat(embeddings))


def compare(before: Seen, after: Seen, attribute: str, value: str) -> dict[str, Any]:
    """Return what became of images of the same codes.

    Args:
        before, after: of the same N codes.
        attribute, value: what was to change, and to what.

    Returns:
        Shares in [0, 1]: `before` and `target`, that show the value; `kept`, other attribute ->
        as before by the judge; `outlines`, as before among those that had a shape; `diversity`,
        mean distance of two images as a part of what it was.
    """
    from models.stylegan_nada.watch import spread

    shown = np.array([name != "" for name in before.outlines])
    same = np.array(before.outlines) == np.array(after.outlines)
    kept = {
        name: float(np.mean(np.array(before.values[name]) == np.array(after.values[name])))
        for name in ATTRIBUTES
        if name != attribute
    }
    return {
        "attribute": attribute,
        "value": value,
        "before": float(before.shows(attribute, value).mean()),
        "target": float(after.shows(attribute, value).mean()),
        "kept": kept,
        "outlines": float(same[shown].mean()) if shown.any() else None,
        "diversity": spread(after.embeddings_NE) / max(spread(before.embeddings_NE), 1e-12),
        "num": len(same),
    }


def row(name: str, found: Mapping[str, Any], seconds: float) -> str:
    """Return one line of the table, in Markdown."""
    kept = ", ".join(f"{key} {share:.2f}" for key, share in found["kept"].items())
    outlines = "none" if found["outlines"] is None else f"{found['outlines']:.2f}"
    return (
        f"| {name} | {found['attribute']}: {found['value']} | {found['before']:.2f} | "
        f"{found['target']:.3f} | {kept} | {outlines} | {found['diversity']:.2f} | {seconds:.0f} |"
    )


HEAD = (
    "| change | wanted | showed it before | target | others kept | outline kept | diversity | s |\n"
    "|---|---|---|---|---|---|---|---|"
)
