"""A running mean that is equal on all ranks and does not depend on the number of micro-batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class RunningMean(nn.Module):
    """Mean of what training forwards observed: value <- beta value + (1 - beta) batch mean.

    Deviation: the published code updates on every micro-batch of each GPU and never synchronises;
    here forwards only gather, and `commit` folds once per phase over the global batch. So the
    buffer is a function of the samples alone.

    Attributes:
        value: [D], the mean.
        tracks: False holds the value (a frozen mapping network).
    """

    value: Tensor
    gathered: Tensor

    def __init__(self, dim: int, beta: float) -> None:
        super().__init__()
        self.beta, self.tracks = beta, True
        self.register_buffer("value", torch.zeros(dim))
        # Sum and count of what was seen since the last commit; zero at every checkpoint, so not
        # state.
        self.register_buffer("gathered", torch.zeros(dim + 1), persistent=False)

    @torch.no_grad()
    def observe(self, x_ND: Tensor) -> None:
        """Gather [N, D] samples; does nothing outside training mode or when not tracking."""
        if self.training and self.tracks:
            self.gathered[:-1] += x_ND.float().sum(dim=0)
            self.gathered[-1] += x_ND.shape[0]

    @torch.no_grad()
    def commit(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Fold what was gathered on all ranks into the value; every rank must call it.

        Args:
            all_reduce_sum: returns the sum of a tensor over ranks (identity for one process).
        """
        if not self.tracks:
            return
        total = all_reduce_sum(self.gathered)
        # Without a branch on the count, so that a GPU need not be waited for.
        weight = (1 - self.beta) * (total[-1] > 0).to(total)
        self.value.lerp_(total[:-1] / total[-1].clamp(min=1), weight)
        self.gathered.zero_()
