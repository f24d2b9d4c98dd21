"""Winograd's form against the direct convolution in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models.layers import short_convolution as short


@pytest.mark.parametrize("strip_tiles", [1, 6, 512])
@pytest.mark.parametrize(("n", "height", "width"), [(1, 2, 2), (3, 4, 6), (2, 10, 8)])
def test_it_is_the_convolution(monkeypatch, strip_tiles, n, height, width) -> None:
    monkeypatch.setattr(short, "_STRIP_TILES", strip_tiles)  # strips meet without a seam
    torch.manual_seed(0)
    x, weight = torch.randn(n, 5, height, width), torch.randn(7, 5, 3, 3)
    expected = F.conv2d(x.double(), weight.double(), padding=1)
    found = short.short_convolution(x, short.short_weight(weight))
    assert found.dtype == torch.float32 and found.shape == expected.shape
    assert (found - expected).norm() <= 1e-6 * expected.norm()


def test_in_float64_it_is_exact() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 6, 6).double(), torch.randn(4, 3, 3, 3).double()
    found = short.short_convolution(x, short.short_weight(weight))
    torch.testing.assert_close(found, F.conv2d(x, weight, padding=1), rtol=1e-12, atol=1e-12)
