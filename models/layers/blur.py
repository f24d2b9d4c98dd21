"""Gaussian blur of the discriminator's inputs (StyleGAN-XL, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.layers.precision import full_precision


def blur(x_NCHW: Tensor, sigma_px: float) -> Tensor:
    """Blur with f[i] = 2^-((i / sigma)^2), |i| <= floor(3 sigma), normalised.

    Outside the image there are zeros. That is a Gaussian of standard deviation 0.849 sigma. Written
    as two products with banded [H, H] and [W, W] matrices: taps that would only meet the zero
    padding cost nothing, which matters as sigma starts as wide as the image.

    Args:
        x_NCHW: images.
        sigma_px: in pixels; below 1/3 the filter is one tap and the input is returned as it is.
    """
    half = int(3 * sigma_px)
    if half < 1:
        return x_NCHW
    with full_precision(x_NCHW):
        rows_HH = _band(x_NCHW.shape[2], sigma_px, half, x_NCHW)
        columns_WW = _band(x_NCHW.shape[3], sigma_px, half, x_NCHW)
        # The bands are symmetric, so no transpose is needed on the right.
        return rows_HH @ x_NCHW @ columns_WW


def _band(size: int, sigma_px: float, half: int, like: Tensor) -> Tensor:
    """Return the [size, size] matrix with f[j - i] in row i and column j."""
    offset = torch.arange(size, device=like.device)
    distance = (offset[:, None] - offset[None, :]).abs()
    taps = torch.arange(-half, half + 1, device=like.device)
    total = torch.exp2(-((taps / sigma_px) ** 2)).sum()
    band = torch.exp2(-((distance / sigma_px) ** 2)) / total
    return torch.where(distance <= half, band, 0).to(like.dtype)
