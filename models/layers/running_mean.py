"""A running mean that is equal on all ranks and does not depend on the number of micro-batches."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RunningMean(nn.Module):
    """Mean of what training forwards observed: value <- beta value + (1 - beta) batch mean.

    Deviation: the published code updates on every micro-batch of each GPU and never synchronises;
    here forwards only gather, and `commit` folds once per phase over the global batch. So the
    buffer is a function of the samples alone.

    With classes, each has its own mean, and each of its samples counts as one step: a class seen k
    times moves by 1 - beta^k towards the mean of those k (the published code takes them one after
    the other, so that the last one counts most).

    Args:
        dim: D.
        beta: what is kept of the old value in a step.
        num_classes: K; 0 = one mean for all.

    Attributes:
        value: [D] or [K, D], the mean.
        tracks: False holds the value (a frozen mapping network).
    """

    value: Tensor
    gathered: Tensor

    def __init__(self, dim: int, beta: float, num_classes: int = 0) -> None:
        super().__init__()
        self.beta, self.tracks, self.num_classes = beta, True, num_classes
        rows = (num_classes,) if num_classes else ()
        self.register_buffer("value", torch.zeros(*rows, dim))
        # Sum and count of what was seen since the last commit; zero at every checkpoint, so not
        # state.
        self.register_buffer("gathered", torch.zeros(*rows, dim + 1), persistent=False)

    @torch.no_grad()
    def observe(self, x_ND: Tensor, label_N: Tensor | None = None) -> None:
        """Gather samples; does nothing outside training mode or when not tracking.

        Args:
            x_ND: what is averaged.
            label_N: class index of each; needed with classes, unused without.
        """
        if not (self.training and self.tracks):
            return
        x_ND = x_ND.float()
        if self.num_classes:
            assert label_N is not None
            # A matrix product, since a scattered sum has no fixed order on a GPU.
            member_KN = F.one_hot(label_N, self.num_classes).to(x_ND).t()
            self.gathered += member_KN @ F.pad(x_ND, (0, 1), value=1.0)
        else:
            self.gathered[:-1] += x_ND.sum(dim=0)
            self.gathered[-1] += x_ND.shape[0]

    def centre(self, label_N: Tensor | None = None) -> Tensor:
        """Return the mean [D], or with classes that of each label [N, D]."""
        if not self.num_classes:
            return self.value
        assert label_N is not None
        return self.value[label_N]

    @torch.no_grad()
    def commit(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Fold what was gathered on all ranks into the value; every rank must call it.

        Args:
            all_reduce_sum: returns the sum of a tensor over ranks (identity for one process).
        """
        if not self.tracks:
            return
        total = all_reduce_sum(self.gathered)
        count = total[..., -1:]
        # Without a branch on the count, so that a GPU need not be waited for.
        if self.num_classes:
            # 1 - beta^count, exact when small; 0 has no logarithm, the smallest number has.
            weight = -torch.expm1(count * math.log(max(self.beta, sys.float_info.min)))
        else:
            weight = (1 - self.beta) * (count > 0).to(total)
        self.value.lerp_(total[..., :-1] / count.clamp(min=1), weight)
        self.gathered.zero_()
