"""Measure whether a generator gives each of two objects what its caption says of it.

A model that only knows which words its caption has draws the right colours on the wrong objects;
one that reads which word belongs to which does not. Legend: N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.evaluation.held_out_looks import Read

OF_OBJECTS = ("shape", "colour", "size")
BY_POSITION = "the first object is the left or upper one, as the judge sees it"


def binding(
    logits: Mapping[str, Tensor],
    classes: Mapping[str, Sequence[str]],
    captions: Sequence[str],
    read: Read,
) -> dict[str, float] | None:
    """Compare what the judge sees of two objects with what captions say.

    Args:
        logits: attribute -> [N, classes] of the judge.
        classes: attribute -> names of its classes, in the order of the logits.
        captions: what each image should show.
        read: caption -> attribute -> name, None for a caption that is not of this kind.

    Returns:
        Shares in [0, 1] of the images whose caption tells of two objects:

        - `attribute`: the mean over the objects' six attributes of how often each is right;
        - `both`: shape, colour and size of both right, each in its place;
        - `exchanged`: shapes and colours of both right, each in the other's place: bound well,
          placed wrong;
        - `swapped_colours`: each has the other's colour, and they are not exchanged;
        - `num`: those images.

        None without such captions, or where the judge knows one object only.
    """
    truths = [read(caption) or {} for caption in captions]
    rows = [index for index, truth in enumerate(truths) if "shape_2" in truth]
    if not rows or "shape_2" not in classes:
        return None
    names = [name + suffix for suffix in ("", "_2") for name in OF_OBJECTS]
    seen = {name: logits[name][rows].argmax(1).cpu() for name in names}
    told = {
        name: torch.tensor([list(classes[name]).index(truths[row][name]) for row in rows])
        for name in names
    }
    right = torch.stack([seen[name] == told[name] for name in names])
    crossed = {
        name: (seen[name] == told[f"{name}_2"]) & (seen[f"{name}_2"] == told[name])
        for name in ("shape", "colour")
    }
    found = {
        "attribute": right,
        "both": right.all(0),
        "exchanged": crossed["shape"] & crossed["colour"],
        "swapped_colours": ~crossed["shape"] & crossed["colour"],
    }
    return {name: float(x.double().mean()) for name, x in found.items()} | {"num": len(rows)}


def measure_binding(bench: Any, sampled: Any) -> dict[str, Any]:
    """Return `two_objects` of generated images and `two_objects_real` of real ones, the ceiling.

    Args:
        bench: the measuring bench.
        sampled: what was seen on generated images.

    Returns:
        scores and cards; nothing where no caption tells of two objects that the judge knows.
    """
    nothing: dict[str, Any] = {"scores": {}, "cards": {}, "missing": {}}
    if bench.judge is None or not sampled.logits:
        return nothing
    classes = bench.judge.network.classes
    found = binding(sampled.logits, classes, sampled.captions, bench.read)
    if found is None:
        return nothing
    real = bench.real(bench.judge)
    count = min(len(real["pooled"]), len(sampled.captions))
    logits = {name: real[name][:count] for name in classes}
    ceiling = binding(logits, classes, sampled.captions[:count], bench.read)
    card = bench.card(bench.judge, int(found["num"]), num_real=count, note=BY_POSITION)
    return {
        "scores": {"two_objects": found, "two_objects_real": ceiling},
        "cards": {"two_objects": card},
        "missing": {},
    }
