"""Resize and normalisation against sums written out by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.features.preprocess import Preprocess, area_resize


def area_by_hand(image: np.ndarray, size: int) -> np.ndarray:
    """Average over the pixels that each output pixel touches, in float64."""
    channels, height, width = image.shape
    out = np.zeros((channels, size, size))
    for row in range(size):
        for column in range(size):
            top, bottom = row * height // size, -(-(row + 1) * height // size)
            left, right = column * width // size, -(-(column + 1) * width // size)
            out[:, row, column] = image[:, top:bottom, left:right].mean(axis=(1, 2))
    return out


@pytest.mark.parametrize(
    ("height", "width", "size"), [(8, 8, 8), (12, 12, 4), (4, 4, 12), (7, 5, 3), (5, 9, 16)]
)
def test_resize_averages_areas(height, width, size):
    image = torch.rand(2, 3, height, width, dtype=torch.float64)
    resized = area_resize(image, size)
    for ours, source in zip(resized, image, strict=True):
        np.testing.assert_allclose(ours.numpy(), area_by_hand(source.numpy(), size), atol=1e-12)


@pytest.mark.parametrize(("side", "size"), [(12, 4), (4, 12)])
def test_whole_factors_equal_torchs_area_mode(side, size):
    image = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    theirs = F.interpolate(image, size=(size, size), mode="area")
    ours = area_resize(image, size)
    torch.testing.assert_close(ours, theirs)
    weight = torch.rand_like(ours)
    (mine,) = torch.autograd.grad((ours * weight).sum(), image)
    (reference,) = torch.autograd.grad((theirs * weight).sum(), image)
    torch.testing.assert_close(mine, reference)


def test_normalises_the_unit_range():
    preprocess = Preprocess(4, mean=[0.5, 0.4, 0.3], std=[0.1, 0.2, 0.4])
    black, white = torch.full((1, 3, 4, 4), -1.0), torch.full((1, 3, 4, 4), 1.0)
    torch.testing.assert_close(preprocess(black)[0, :, 0, 0], torch.tensor([-5.0, -2.0, -0.75]))
    torch.testing.assert_close(preprocess(white)[0, :, 0, 0], torch.tensor([5.0, 3.0, 1.75]))


def test_refuses_what_is_no_image():
    with pytest.raises(ValueError, match=r"\[N, 3, H, W\], got \[2, 1, 8, 8\]"):
        Preprocess(4, [0.5] * 3, [0.5] * 3)(torch.zeros(2, 1, 8, 8))
