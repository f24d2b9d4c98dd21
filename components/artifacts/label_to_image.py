"""A model of classes, or an unconditional one, with the interface of `TextToImage`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from components.requests.subjects import check_subject, kind_of, label_names
from models.interfaces import Condition


class LabelToImage(nn.Module):
    """Names of classes to images; stands where a `TextToImage` does.

    Args:
        generator: a Generator of class labels, or of nothing.
        card: the release's card, which tells the two apart and names the classes.
    """

    def __init__(self, generator: nn.Module, card: Mapping[str, Any]) -> None:
        super().__init__()
        self.generator, self._card = generator, card

    def condition(self, names: Sequence[str]) -> Condition:
        """Return the classes of these names; ConfigError for an unknown one."""
        for name in names:
            check_subject(self._card, name)
        if kind_of(self._card) == "none":
            return Condition()
        known = label_names(self._card)
        return Condition(label_N=torch.tensor([known.index(name) for name in names]))
