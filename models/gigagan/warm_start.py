"""Continue an artifact, or put an upsampler on it."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.interfaces import Start
from models.warm_start import check_family, copy_by_name


def continue_from(
    start: Start, model: Any, discriminator: nn.Module, resolution: int, parts: str
) -> None:
    """Copy the start's tensors: all of them, or into a cascade's base.

    Raises:
        ValueError: the start is of another family, or of a size or kind that does not fit.
    """
    check_family(start.card, "gigagan")
    before, found = start.card["resolution_px"], start.card["recipe"]["fields"].get("parts", "base")
    if parts == found and before == resolution:
        copy_by_name(model, start.generator, what="the generator")
        if start.discriminator is not None:
            copy_by_name(discriminator, start.discriminator, what="the discriminator")
        return
    if parts == "cascade" and found == "base" and before == model.base.resolution:
        copy_by_name(model.base, start.generator, what="the base")
        model.base.mapping.mean.tracks = False
        return
    raise ValueError(
        f"the start is a {found} of {before} px, this stage a {parts} of {resolution} px: it can "
        "go on with its own kind and size, or, with parts cascade and base_px as the start has, "
        "put an upsampler on a base"
    )
