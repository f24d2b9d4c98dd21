"""Doubling of the image against zero insertion and an explicit loop over the filter."""

import pytest
import torch

from models.layers.resampling import upsample_rgb


def reference(x):
    """y[p] = sum_k f[k] z[p + k - 2] with z the zero-inserted image, zeros outside."""
    n, c, height, width = x.shape
    f = [0.25, 0.75, 0.75, 0.25]
    y = torch.zeros(n, c, 2 * height, 2 * width, dtype=torch.float64)
    for p in range(2 * height):
        for q in range(2 * width):
            for i in range(4):
                for j in range(4):
                    r, s = p + i - 2, q + j - 2
                    inside = 0 <= r < 2 * height and 0 <= s < 2 * width
                    if inside and r % 2 == 0 and s % 2 == 0:
                        y[:, :, p, q] += f[i] * f[j] * x[:, :, r // 2, s // 2].double()
    return y


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 4, 4), (1, 1, 3, 5)])
def test_upsample_rgb_equals_zero_insertion_and_fir_with_borders(shape):
    x = torch.randn(shape)
    torch.testing.assert_close(upsample_rgb(x).double(), reference(x), atol=1e-6, rtol=1e-6)


def test_border_differs_from_plain_bilinear():
    x = torch.ones(1, 1, 4, 4)
    y = upsample_rgb(x)
    assert y[0, 0, 0, 0] == pytest.approx(0.75**2)
    assert y[0, 0, 3, 3] == pytest.approx(1.0)
