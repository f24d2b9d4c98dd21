import torch
from torch.nn import functional as F

from models.layers.crops import crop_or_shrink, random_crop


def numbered(n, size):
    """Return images whose pixels carry their own place."""
    return torch.arange(size * size).view(1, 1, size, size).expand(n, 3, -1, -1).float()


def test_crops_are_contiguous_and_reach_every_place():
    rng = torch.Generator().manual_seed(0)
    out = random_crop(numbered(500, 6), 4, rng)
    assert out.shape == (500, 3, 4, 4)
    step = torch.arange(4)
    expected = out[:, :, :1, :1] + step[:, None] * 6 + step[None, :]
    torch.testing.assert_close(out, expected)
    assert out[:, 0, 0, 0].unique().tolist() == [0, 1, 2, 6, 7, 8, 12, 13, 14]


def test_small_images_come_back():
    x = torch.randn(2, 3, 4, 4)
    assert random_crop(x, 4, torch.Generator()) is x
    assert crop_or_shrink(x, 4, torch.Generator()) is x


def test_half_of_the_samples_are_crops_and_the_rest_whole():
    x = torch.randn(400, 3, 8, 8)
    out = crop_or_shrink(x, 4, torch.Generator().manual_seed(0))
    whole = F.avg_pool2d(x, 2)
    is_whole = (out - whole).abs().amax((1, 2, 3)) < 1e-6
    assert 160 < is_whole.sum() < 240
    windows = [x[:, :, i : i + 4, j : j + 4] for i in range(5) for j in range(5)]
    is_crop = torch.stack([(out == w).all(3).all(2).all(1) for w in windows]).any(0)
    assert torch.equal(is_crop, ~is_whole)
