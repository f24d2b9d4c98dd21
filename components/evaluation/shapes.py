"""Measure by outlines whether the shape that a prompt asks for is drawn, for each kind of image.

Only data whose captions tell of a shape can be measured so: the embedded drawings.
"""

from __future__ import annotations

from typing import Any

from components.evaluation.cards import FOOLED_JUDGE
from components.evaluation.held_out_looks import Read
from components.evaluation.looks import Looks
from components.evaluation.sampled import Sampled
from components.evaluation.silhouettes import Outlines

FOOLED = 0.05  # a judge that names so many more shapes right than outlines do is being fooled
TRUSTED = 0.95  # share of real images that outlines must name right before they doubt a judge


def shape_cells(looks: Looks, outlines: Outlines, read: Read) -> dict[str, tuple[int, int]]:
    """Return on how many images the outline is that of the caption's shape.

    Args:
        looks: of generated images.
        outlines: of real ones.
        read: caption -> attribute -> value.

    Returns:
        kind of image ("size shape", or "shape" where no size is told) -> (right, all).
    """
    cells: dict[str, tuple[int, int]] = {}
    for caption, found in zip(looks.captions, looks.outlines, strict=True):
        truth = read(caption) or {}
        if "shape" in truth:
            cell = " ".join(truth[name] for name in ("size", "shape") if name in truth)
            right, num = cells.get(cell, (0, 0))
            cells[cell] = (right + (outlines.name(found) == truth["shape"]), num + 1)
    return dict(sorted(cells.items()))


def measure_shapes(bench: Any, sampled: Sampled, judged: dict[str, float] | None) -> dict[str, Any]:
    """Return the shapes by outline, per kind of image, and whether the judge sees more of them.

    Args:
        bench: the measuring bench.
        sampled: what was seen on generated images.
        judged: the judge's shares on them; None without.

    Returns:
        scores: `silhouette` {shape, worst, num}, shares in [0, 1], and `silhouette_cells`; cards
        and warnings beside them. Nothing where no caption tells of a shape.
    """
    outlines, cells = bench.held_out.outlines, {}
    if outlines is not None and sampled.looks is not None:
        cells = shape_cells(sampled.looks, outlines, bench.read)
    if not cells:
        return {"scores": {}, "cards": {}, "missing": {}, "warnings": []}
    shares = {cell: right / num for cell, (right, num) in cells.items()}
    num = sum(num for _, num in cells.values())
    shape = sum(right for right, _ in cells.values()) / num
    warnings, trusted = [], bench.held_out.named_right >= TRUSTED
    if trusted and judged and judged.get("shape", 0.0) - shape > FOOLED:
        named, drawn = (f"{100 * share:.0f} %" for share in (judged["shape"], shape))
        warnings = [f"{FOOLED_JUDGE}: it names {named} of the shapes right, outlines {drawn}"]
    note = "; ".join([f"real images right: {bench.held_out.named_right:.3f}", *warnings])
    card = bench.card("outlines", num, num_real=len(bench.held_out.shown), note=note)
    found = {"shape": shape, "worst": min(shares.values()), "num": num}
    return {
        "scores": {"silhouette": found, "silhouette_cells": shares},
        "cards": {"silhouette": card},
        "missing": {},
        "warnings": warnings,
    }
