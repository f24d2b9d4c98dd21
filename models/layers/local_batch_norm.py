"""Batch normalisation over small fixed groups of samples (StyleGAN-T, section 3.2).

Statistics of groups of 8 do not depend on the micro-batch, the number of GPUs or the mode, and need
no synchronisation. There are no running statistics.

Legend: N samples, L tokens, C channels, G groups.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.precision import full_precision


def number_of_groups(n: int, virtual_batch: int) -> int:
    """Return into how many equal groups of at most `virtual_batch` a micro-batch of n splits.

    Raises:
        ValueError: n is not a multiple of its number of groups, ceil(n / virtual_batch).
    """
    groups = -(-n // virtual_batch)
    if n == 0 or n % groups:
        raise ValueError(
            f"local batch norm got a micro-batch of {n}, which does not split into {groups} "
            f"equal groups of at most {virtual_batch}: use a micro-batch below "
            f"{virtual_batch} or a multiple of it"
        )
    return groups


class LocalBatchNorm(nn.Module):
    """Normalise each channel over the samples and tokens of each group.

    Args:
        channels: C.
        virtual_batch: largest number of samples in a group.
        eps: added to the biased variance.
    """

    def __init__(self, channels: int, *, virtual_batch: int = 8, eps: float = 1e-5) -> None:
        super().__init__()
        self.virtual_batch, self.eps = virtual_batch, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_NLC: Tensor, parts: int = 1) -> Tensor:
        """Normalise [N, L, C], in float32 inside; the result has the input's type.

        Args:
            x_NLC: N = parts * n samples.
            parts: batches that were concatenated (real and fake) and must not share a group.

        Raises:
            ValueError: n is not a multiple of its number of groups, ceil(n / virtual_batch).
        """
        n, _, channels = x_NLC.shape
        groups = parts * number_of_groups(n // parts, self.virtual_batch)
        with full_precision(x_NLC):
            # Groups stand beside each other as channels, so that one call of the library's batch
            # norm does them all: 4 times as fast on a CPU as mean and variance written out.
            x = x_NLC.float().reshape(groups, -1, channels).transpose(0, 1).flatten(1)
            weight, bias = self.weight.repeat(groups), self.bias.repeat(groups)
            x = F.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
            x = x.unflatten(1, (groups, channels)).transpose(0, 1)
            return x.reshape(x_NLC.shape).to(x_NLC.dtype)
