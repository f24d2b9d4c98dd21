"""Batch normalisation of images with running statistics, for FastGAN and Projected GAN.

Training normalises groups of 8 samples, as the published batch of 8 per GPU did, so that a sample's
result does not depend on how many of them a rank holds. Evaluation uses running statistics.

Deviations: the published code updates the running statistics in every forward pass of each GPU and
never synchronises them; here forwards only gather, and `commit` folds once per phase over the
global batch. The published averaged model takes the statistics of the trained network, which belong
to other weights; here it measures its own (`settle`).

Legend: N samples, C channels, H W pixels, E width of the conditioning vector.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers.local_batch_norm import number_of_groups
from models.layers.spectral_norm import SpectralLinear


class TrackedBatchNorm(nn.Module):
    """Normalise each channel over the samples and pixels of each group.

    Args:
        channels: C.
        affine: learn a weight and a bias per channel.
        virtual_batch: largest number of samples in a group.
        momentum: weight of the new statistics in the running ones.
        eps: added to the biased variance.
    """

    running_mean: Tensor
    running_var: Tensor
    gathered: Tensor

    def __init__(
        self,
        channels: int,
        *,
        affine: bool = True,
        virtual_batch: int = 8,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.virtual_batch, self.momentum, self.eps = virtual_batch, momentum, eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        # Sums of means and variances and their count; zero at every checkpoint, so not state.
        self.register_buffer("gathered", torch.zeros(2 * channels + 1), persistent=False)

    def forward(self, x_NCHW: Tensor, parts: int = 1) -> Tensor:
        """Normalise [N, C, H, W].

        Args:
            x_NCHW: N = parts * n samples.
            parts: batches that were concatenated (real and fake) and must not share a group.

        Raises:
            ValueError: in training, n does not split into equal groups.
        """
        if not self.training:
            mean, variance = self.running_mean, self.running_var
            return F.batch_norm(x_NCHW, mean, variance, self.weight, self.bias, eps=self.eps)
        groups = parts * number_of_groups(x_NCHW.shape[0] // parts, self.virtual_batch)
        pieces = [self._normalise(piece) for piece in x_NCHW.chunk(groups)]
        return pieces[0] if groups == 1 else torch.cat(pieces)

    def _normalise(self, x_NCHW: Tensor) -> Tensor:
        """Normalise one group and gather its statistics (the variance unbiased, as torch's)."""
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        # With momentum 1 the kernel leaves the group's own statistics in the two buffers.
        y = F.batch_norm(x_NCHW, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        with torch.no_grad():
            self.gathered += torch.cat([mean, variance, torch.ones_like(mean[:1])])
        return y

    def commit(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Fold the mean of what was gathered on all ranks into the running statistics.

        Args:
            all_reduce_sum: returns the sum of a tensor over ranks (identity for one process).
        """
        self._fold(all_reduce_sum, self.momentum)

    def settle(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Take the mean of what was gathered on all ranks for the running statistics."""
        self._fold(all_reduce_sum, 1.0)

    @torch.no_grad()
    def _fold(self, all_reduce_sum: Callable[[Tensor], Tensor], share: float) -> None:
        total = all_reduce_sum(self.gathered)
        # Without a branch on the count, so that a GPU need not be waited for.
        weight = share * (total[-1] > 0).to(total)
        mean, variance = (total[:-1] / total[-1].clamp(min=1)).chunk(2)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)
        self.gathered.zero_()


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and shift follow a conditioning vector: y (1 + G e) + B e.

    Args:
        channels: C.
        condition_dim: E.
        virtual_batch: see `TrackedBatchNorm`.
    """

    def __init__(self, channels: int, condition_dim: int, *, virtual_batch: int = 8) -> None:
        super().__init__()
        self.norm = TrackedBatchNorm(channels, affine=False, virtual_batch=virtual_batch)
        self.gain = SpectralLinear(condition_dim, channels)
        self.shift = SpectralLinear(condition_dim, channels)

    def forward(self, x_NCHW: Tensor, vector_NE: Tensor) -> Tensor:
        """Normalise [N, C, H, W] by the vectors [N, E]."""
        y = self.norm(x_NCHW)
        gain = (1 + self.gain(vector_NE))[:, :, None, None].to(y.dtype)
        return torch.addcmul(self.shift(vector_NE)[:, :, None, None].to(y.dtype), y, gain)
