"""Hinge losses (Lim and Ye 2017).

One value per sample: the mean over its logits, of any number.

Legend: N samples, T logits of one sample.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def hinge_discriminator(real_NT: Tensor, fake_NT: Tensor) -> Tensor:
    """Return [N]: mean relu(1 - real) + mean relu(1 + fake)."""
    real = F.relu(1 - real_NT.float()).flatten(1).mean(dim=1)
    fake = F.relu(1 + fake_NT.float()).flatten(1).mean(dim=1)
    return real + fake


def hinge_generator(fake_NT: Tensor) -> Tensor:
    """Return [N]: -mean of the fake logits."""
    return -fake_NT.float().flatten(1).mean(dim=1)
