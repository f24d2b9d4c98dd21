"""DiffAugment: its three parts against their definitions, and the distributions of the draws."""

import pytest
import torch

from models.layers.augment import diff_augment


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_color_is_brightness_then_saturation_then_contrast():
    torch.manual_seed(0)
    n = 2000
    x = torch.randn(n, 3, 4, 4)
    out = diff_augment(x, ("color",), rng())
    grey, mean = x.mean(1, keepdim=True), x.mean((1, 2, 3), keepdim=True)
    new_grey, new_mean = out.mean(1, keepdim=True), out.mean((1, 2, 3), keepdim=True)
    # Saturation keeps each pixel's grey, contrast the image's mean: read the draws back.
    b = new_mean - mean
    k = ((new_grey - new_mean) * (grey - mean)).sum((1, 2, 3)) / (grey - mean).square().sum(
        (1, 2, 3)
    )
    k = k.view(-1, 1, 1, 1)
    s = ((out - new_grey) * (x - grey)).sum((1, 2, 3)) / (x - grey).square().sum((1, 2, 3))
    s = s.view(-1, 1, 1, 1) / k
    y = x + b
    y = (y - y.mean(1, keepdim=True)) * s + y.mean(1, keepdim=True)
    y = (y - y.mean((1, 2, 3), keepdim=True)) * k + y.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(out, y, atol=1e-4, rtol=1e-4)
    for draw, low, high in ((b, -0.5, 0.5), (s, 0.0, 2.0), (k, 0.5, 1.5)):
        assert draw.min() >= low - 1e-3
        assert draw.max() <= high + 1e-3
        assert abs(draw.mean() - (low + high) / 2) < 0.05 * (high - low)
        assert abs(draw.std() - (high - low) / 12**0.5) < 0.03 * (high - low)
    assert abs(torch.corrcoef(torch.stack([b.flatten(), k.flatten()]))[0, 1]) < 0.1


@pytest.mark.parametrize("size", [12, 16, 19])  # an eighth is 1.5, 2 and 2.4: all round to 2
def test_translation_moves_whole_pixels_within_an_eighth(size):
    n = 3000
    x = torch.zeros(n, 1, size, size)
    x[:, :, 8, 8] = 1
    out = diff_augment(x, ("translation",), rng())
    assert torch.equal(out.sum((1, 2, 3)), torch.ones(n))
    place = out.flatten(1).argmax(1)
    for shift in (place // size - 8, place % size - 8):
        counts = torch.bincount(shift + 2, minlength=5)
        assert len(counts) == 5  # -2 ... 2
        assert (counts - n / 5).abs().max() < 0.2 * n / 5


def test_translation_leaves_zeros_behind():
    out = diff_augment(torch.ones(200, 3, 8, 8), ("translation",), rng())
    areas = out[:, 0].sum((1, 2))
    assert {int(a) for a in areas} == {64, 56, 49}  # shifts of -1, 0, 1 per axis
    assert torch.equal(out.unique(), torch.tensor([0.0, 1.0]))


def test_translation_shows_each_sample_its_own_pixels():
    x = torch.randn(50, 3, 8, 8)
    out = diff_augment(x, ("translation",), rng(3))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    for before, after in zip(padded, out, strict=True):
        views = [before[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        assert any(torch.equal(after, view) for view in views)


def test_shift_moves_as_translation_does_and_repeats_the_edge():
    x = torch.randn(50, 3, 8, 8)
    out = diff_augment(x, ("shift",), rng(3))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    moved = 0
    for before, after, plain in zip(padded, out, x, strict=True):
        views = [before[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        assert any(torch.equal(after, view) for view in views)
        moved += not torch.equal(after, plain)
    assert moved > 30  # eight of nine shifts move
    inside = diff_augment(x, ("translation",), rng(3))
    assert torch.equal(torch.where(inside != 0, out, 0), inside)  # the same draws


@pytest.mark.parametrize(("size", "side"), [(10, 2), (16, 3), (32, 6)])
def test_cutout_is_a_box_clipped_at_the_border(size, side):
    out = diff_augment(torch.ones(3000, 1, size, size), ("cutout",), rng())
    hole = 1 - out[:, 0]
    height, width = hole.amax(2).sum(1), hole.amax(1).sum(1)
    torch.testing.assert_close(hole.sum((1, 2)), height * width)
    assert height.max() == side
    assert (side - 1) // 2 <= height.min() < side
    covered = hole.mean(0)
    # Every pixel of the middle is equally often hidden.
    middle = covered[side:-side, side:-side]
    places = size + 1 - side % 2
    assert abs(middle.mean() - (side / places) ** 2) < 0.1 * (side / places) ** 2


def test_draws_come_from_the_generator_alone_and_per_sample():
    x = torch.randn(1, 3, 16, 16).expand(6, -1, -1, -1)
    policy = ("color", "translation", "cutout")
    torch.manual_seed(1)
    first = diff_augment(x, policy, rng(5))
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, diff_augment(x, policy, rng(5)))
    torch.manual_seed(1)
    diff_augment(x, policy, rng(6))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, diff_augment(x, policy, rng(6)))
    assert len({tuple(row.tolist()) for row in first.flatten(1)}) == 6


def test_is_differentiable_and_known_by_name():
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    policy = ("color", "translation", "cutout")
    assert torch.autograd.gradcheck(lambda t: diff_augment(t, policy, rng()), (x,), atol=1e-5)
    assert diff_augment(x, (), rng()) is x
    with pytest.raises(ValueError, match=r"rotate.*translation"):
        diff_augment(x, ("rotate",), rng())
