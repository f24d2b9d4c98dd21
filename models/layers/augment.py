"""Differentiable augmentation of the discriminator's images, real and fake alike.

Zhao et al. 2020.

All draws are per sample and from the given generator.

Legend: N samples, C = 3 channels, H W pixels.
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from models.fields import Augmentation

POLICIES = get_args(Augmentation)
SHIFT_RATIO = 0.125  # of the side; the authors' default
CUTOUT_RATIO = 0.2  # of the side; StyleGAN-T's


def diff_augment(x_NCHW: Tensor, policy: tuple[str, ...], rng: torch.Generator) -> Tensor:
    """Augment images in [-1, 1]; differentiable with respect to them.

    Args:
        x_NCHW: images.
        policy: any of "color", "translation", "shift", "cutout", applied in this order; () returns
            the input. "translation" leaves mid-grey behind, as published; "shift" repeats the edge
            (ours), so a plain ground stays plain.
        rng: generator on the images' device.

    Raises:
        ValueError: an unknown name in `policy`.
    """
    unknown = [name for name in policy if name not in POLICIES]
    if unknown:
        raise ValueError(f"unknown augmentation {unknown}: known are {list(POLICIES)}")
    if "color" in policy:
        x_NCHW = _color(x_NCHW, rng)
    if "shift" in policy:
        x_NCHW, _ = _shifted(x_NCHW, rng)
    translate = "translation" in policy
    cut = "cutout" in policy
    return _move(x_NCHW, rng, translate=translate, cut=cut) if translate or cut else x_NCHW


def mirror_half(x_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Flip each image left to right with probability one half: what doubles a data set."""
    flip = torch.rand((x_NCHW.shape[0], 1, 1, 1), generator=rng, device=x_NCHW.device) < 0.5
    return torch.where(flip, x_NCHW.flip(3), x_NCHW)


def _color(x: Tensor, rng: torch.Generator) -> Tensor:
    """Draw brightness U(-0.5, 0.5), saturation U(0, 2), contrast U(0.5, 1.5); one affine map.

    The three steps in turn are x + b, then (x - g) s + g with the pixel's grey g, then (x - m) k +
    m with the image's mean m. Saturation keeps m and brightness adds to g and m, which leaves x s k
    + g (1 - s) k + m (1 - k) + b.
    """
    b, s, k = torch.rand((3, x.shape[0], 1, 1, 1), generator=rng, device=x.device).to(x.dtype)
    b, s, k = b - 0.5, s * 2, k + 0.5
    grey = x.mean(dim=1, keepdim=True)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    return x * (s * k) + (grey * ((1 - s) * k) + (mean * (1 - k) + b))


def _move(x: Tensor, rng: torch.Generator, *, translate: bool, cut: bool) -> Tensor:
    """Shift by whole pixels with zeros behind, then zero (mid-grey) a box."""
    n, _, height, width = x.shape
    keep = torch.ones((n, 1, 1), dtype=torch.bool, device=x.device)
    if translate:
        x, keep = _shifted(x, rng)
    if cut:
        in_rows = _box(n, height, torch.arange(height, device=x.device).view(1, -1, 1), rng)
        in_columns = _box(n, width, torch.arange(width, device=x.device).view(1, 1, -1), rng)
        keep = keep & ~(in_rows & in_columns)
    return x * keep[:, None].to(x.dtype)


def _shifted(x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the images shifted by whole pixels, the edge repeated, and which pixels [N, H, W] they
    had themselves.
    """
    n, channels, height, width = x.shape
    rows = torch.arange(height, device=x.device).view(1, -1, 1)
    columns = torch.arange(width, device=x.device).view(1, 1, -1)
    rows = rows + _shifts(n, height, rng, x.device)
    columns = columns + _shifts(n, width, rng, x.device)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    index = index.view(n, 1, -1).expand(-1, channels, -1)
    return x.flatten(2).gather(2, index).view(n, channels, height, width), inside


def _shifts(n: int, size: int, rng: torch.Generator, device: torch.device) -> Tensor:
    """Draw whole shifts [n, 1, 1], uniform in [-s, s] with s = size / 8, rounded."""
    most = int(SHIFT_RATIO * size + 0.5)
    return torch.randint(-most, most + 1, (n, 1, 1), generator=rng, device=device)


def _box(n: int, size: int, position: Tensor, rng: torch.Generator) -> Tensor:
    """Return where `position` lies in a box of size / 5, rounded, centred anywhere in the image."""
    side = int(CUTOUT_RATIO * size + 0.5)
    # An even side has its centre between two pixels, so one more place (as published).
    centre = torch.randint(size + 1 - side % 2, (n, 1, 1), generator=rng, device=position.device)
    first = centre - side // 2
    return (position >= first) & (position < first + side)
