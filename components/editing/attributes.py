"""Which channels of a model move with a text: the part of StyleSpace that people look at.

Wu et al. 2021, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.editing.channels import Channels
from components.editing.edits import Edit, styles_of
from models.editing.directions import select_channels


@dataclass(frozen=True)
class Channel:
    """A channel that moves with a text.

    Attributes:
        layer, number: where it is.
        relevance: cosine of its direction with the text's; below 0 it moves against it.
        deviation: of its values over codes.
    """

    layer: str
    number: int
    relevance: float
    deviation: float

    def edit(self, generator: Any, ws_1LD: Tensor) -> Edit:
        """Return the edit that moves this channel by one deviation, towards the text."""
        with torch.no_grad():
            styles = styles_of(generator, ws_1LD)
        change = {name: torch.zeros_like(x) for name, x in styles.items()}
        sign = 1.0 if self.relevance >= 0 else -1.0
        change[self.layer][:, self.number] = sign * self.deviation
        return Edit(styles, change)


def channels_of(channels: Channels, direction_E: Tensor, count: int = 5) -> Sequence[Channel]:
    """Return the most relevant channels for a text, the strongest first.

    Args:
        channels: from a sweep.
        direction_E: from `ClipText.direction`.
        count: how many.
    """
    relevance_C = select_channels(channels.direction_CE.cpu(), direction_E.cpu()).relevance_C
    order = relevance_C.abs().argsort(descending=True, stable=True)[:count].tolist()
    found = []
    for index in order:
        layer, number = channels.place(index)
        values = float(relevance_C[index]), float(channels.deviation_C[index])
        found.append(Channel(layer, number, *values))
    return found
