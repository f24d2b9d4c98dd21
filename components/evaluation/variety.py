"""Measure whether a generator draws every kind of image, by the judge's classes.

Generated images are compared with real ones.

Needs no prompts, so it measures models of nothing and of classes too. The judge names something in
every image, whatever it shows: read these numbers beside the distance. Legend: N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.evaluation.alignment import in_order

Counts = dict[str, dict[str, int]]


def attribute_counts(logits: Mapping[str, Tensor], classes: Mapping[str, Sequence[str]]) -> Counts:
    """Return attribute -> class -> how many images the judge gives that class.

    Args:
        logits: attribute -> [N, classes] of the judge.
        classes: attribute -> names of its classes, in the order of the logits.
    """
    counts: Counts = {}
    for attribute in in_order(classes):
        names = classes[attribute]
        found = torch.bincount(logits[attribute].argmax(1).cpu(), minlength=len(names))
        counts[attribute] = dict(zip(names, found.tolist(), strict=True))
    return counts


def variety(generated: Counts, real: Counts) -> dict[str, float]:
    """Return how alike two counts are.

    Returns:
        One number in [0, 1] per attribute, the overlap of the two histograms (sum over the classes
        of the smaller share; 1 = equal shares), and `missing`: classes that some real image has and
        no generated one.
    """
    scores: dict[str, float] = {
        attribute: sum(min(p, q) for p, q in zip(*_shares(attribute, generated, real), strict=True))
        for attribute in generated
    }
    missing = sum(
        count > 0 and generated[attribute][name] == 0
        for attribute, names in real.items()
        for name, count in names.items()
    )
    return {**scores, "missing": missing}


def _shares(attribute: str, *counts: Counts) -> list[list[float]]:
    return [
        [count / max(sum(one[attribute].values()), 1) for count in one[attribute].values()]
        for one in counts
    ]


def variety_scores(bench: Any, sampled: Any) -> dict[str, Any] | None:
    """Return {"scores", "counts": {"generated", "real"}} of a `Bench`; None without a judge."""
    if bench.judge is None or not sampled.logits:
        return None
    classes = bench.judge.network.classes
    counts = {
        "generated": attribute_counts(sampled.logits, classes),
        "real": attribute_counts(bench.real(bench.judge), classes),
    }
    return {"scores": variety(counts["generated"], counts["real"]), "counts": counts}
