import pytest
import torch
from torch.nn import functional as F

from models.layers.blur import blur


def reference(x, sigma):
    """Two passes of an explicit filter with zero padding, in float64."""
    half = int(3 * sigma)
    taps = torch.tensor([2.0 ** -((i / sigma) ** 2) for i in range(-half, half + 1)]).double()
    taps = (taps / taps.sum()).expand(x.shape[1], 1, -1)
    x = x.double()
    x = F.conv2d(x, taps[:, :, None, :], padding=(0, half), groups=x.shape[1])
    return F.conv2d(x, taps[:, :, :, None], padding=(half, 0), groups=x.shape[1])


@pytest.mark.parametrize("sigma", [0.34, 1.0, 2.5, 32.0])
@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 3, 8, 12)])
def test_equals_the_separable_filter(sigma, shape):
    x = torch.randn(shape)
    torch.testing.assert_close(blur(x, sigma).double(), reference(x, sigma), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_too_small_to_have_a_neighbour_is_the_identity(sigma):
    x = torch.randn(1, 3, 4, 4)
    assert blur(x, sigma) is x
