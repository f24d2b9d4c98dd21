"""Light augmentation of training images; every draw comes from the given generator.

Legend: N samples, C channels, H W pixels; images in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Share of a training over which an adversary grows: shapes are learnt before they are defended. At
# full strength from the start they are learnt late or never (docs/log.md).
ADVERSARY_RAMP = 2 / 3


def grown(most: float, progress: float) -> float:
    """Return an adversary's strength at `progress` in [0, 1] of the training."""
    return most * min(1.0, progress / ADVERSARY_RAMP)


def uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    """Return one number in [low, high) per sample, shaped [N, 1, 1, 1]."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=rng)


def mirror(x_NCHW: Tensor, rng: torch.Generator) -> Tensor:
    """Flip half of the images left to right."""
    return torch.where(uniform(len(x_NCHW), 0, 1, rng) < 0.5, x_NCHW.flip(3), x_NCHW)


def add_noise(x_NCHW: Tensor, most: float, rng: torch.Generator) -> Tensor:
    """Add Gaussian noise, its standard deviation drawn per image up to `most`."""
    noise = torch.randn(x_NCHW.shape, generator=rng)
    return x_NCHW + noise * uniform(len(x_NCHW), 0, most, rng)


def shift_brightness(x_NCHW: Tensor, most: float, rng: torch.Generator) -> Tensor:
    """Add one number per image, up to `most` to either side."""
    return x_NCHW + uniform(len(x_NCHW), -most, most, rng)


def scale_contrast(x_NCHW: Tensor, most: float, rng: torch.Generator) -> Tensor:
    """Stretch or squeeze the values of each image about their mean, by up to `most`."""
    mean = x_NCHW.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x_NCHW - mean) * uniform(len(x_NCHW), 1 - most, 1 + most, rng)


def scale_saturation(x_NCHW: Tensor, most: float, rng: torch.Generator) -> Tensor:
    """Move each pixel towards its grey or away from it, by up to `most`."""
    grey = x_NCHW.mean(dim=1, keepdim=True)
    return grey + (x_NCHW - grey) * uniform(len(x_NCHW), 1 - most, 1 + most, rng)


def soften(x_NCHW: Tensor, share: float, rng: torch.Generator, factor: int = 2) -> Tensor:
    """Lower and raise the resolution of a share of the images, as a smaller generator would."""
    size = x_NCHW.shape[-1]
    small = F.avg_pool2d(x_NCHW, factor)
    soft = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    return torch.where(uniform(len(x_NCHW), 0, 1, rng) < share, soft, x_NCHW)


def random_crop(
    x_NCHW: Tensor, size: int, area: tuple[float, float], rng: torch.Generator
) -> Tensor:
    """Cut a random square from each image and resize it (bilinear).

    Args:
        x_NCHW: images.
        size: side of the result in pixels.
        area: least and largest share of the image's area.
        rng: source of the draws.
    """
    count = len(x_NCHW)
    scale = uniform(count, *area, rng).view(count).sqrt()
    centre = (2 * torch.rand(count, 2, generator=rng) - 1) * (1 - scale)[:, None]
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = centre
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    return F.grid_sample(x_NCHW, grid, padding_mode="reflection", align_corners=False)


def worst_nearby(
    x_NCHW: Tensor, loss: Callable[[Tensor], Tensor], most: float, rng: torch.Generator
) -> Tensor:
    """Move each image to where the loss is higher, each value by at most a radius drawn up to
    `most`.

    One signed gradient step from a random start (Wong et al., arXiv 2001.03994, with their step of
    1.25 radii). A net trained on such images has gradients along what is seen, not along what fools
    it, which is what guidance needs.

    Args:
        x_NCHW: images in [-1, 1].
        loss: images -> scalar.
        most: largest radius, of [-1, 1].
        rng: source of the draws.
    """
    radius = uniform(len(x_NCHW), 0, most, rng)
    start = (2 * torch.rand(x_NCHW.shape, generator=rng) - 1) * radius
    moved = (x_NCHW + start).requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(moved), moved)
    step = (start + 1.25 * radius * gradient.sign()).clamp(-radius, radius)
    return (x_NCHW + step).detach()
