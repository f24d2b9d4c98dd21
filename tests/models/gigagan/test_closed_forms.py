"""The family's formulas against answers that are known without running it."""

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.gigagan.adaptive_conv import (
    AdaptiveConv,
    adaptive_convolution,
    convolve_each,
    kernel_demodulation,
    mixed_kernels,
)
from models.gigagan.attention import SelfAttention, attend
from models.gigagan.generator import TextMapping
from models.gigagan.losses import contrastive
from models.gigagan.perceptual import feature_maps, perceptual
from models.gigagan.tiles import mirrored, upscale_strips
from tests.models.conftest import FakeCnn, FakeVit

HALVES = (slice(0, 4), slice(4, 8))


@pytest.mark.parametrize("up", [False, True])
def test_one_hot_share_is_the_plain_convolution_of_that_kernel(up):
    torch.manual_seed(0)
    x, style, bank = torch.randn(3, 4, 6, 6), torch.randn(3, 4), torch.randn(5, 7, 4, 3, 3)
    share = F.one_hot(torch.tensor([4, 0, 2]), 5).float()
    mixed = adaptive_convolution(x, bank, style, share, up=up)
    for row, kernel in enumerate((4, 0, 2)):
        one = slice(row, row + 1)
        plain = adaptive_convolution(x[one], bank[kernel][None], style[one], None, up=up)
        torch.testing.assert_close(mixed[one], plain, rtol=1e-5, atol=1e-6)


def test_bank_of_one_equals_the_path_with_a_kernel_per_sample():
    torch.manual_seed(0)
    layer = AdaptiveConv(4, 6, 8)
    x, w = torch.randn(3, 4, 5, 5), torch.randn(3, 8)
    style = layer.style(w)
    kernel = mixed_kernels(layer.bank(), torch.ones(3, 1))
    y = convolve_each(x * style[:, :, None, None], kernel)
    y = y * kernel_demodulation(style, kernel)[:, :, None, None]
    expected = F.leaky_relu(y, 0.2) * 2**0.5
    torch.testing.assert_close(layer(x, w), expected, rtol=1e-6, atol=1e-6)


def test_demodulated_kernels_have_unit_norm():
    kernel, style = torch.randn(2, 5, 4, 3, 3), torch.randn(2, 4)
    scaled = kernel * style[:, None, :, None, None]
    norm = scaled.square().sum(dim=(2, 3, 4)).sqrt() * kernel_demodulation(style, kernel)
    torch.testing.assert_close(norm, torch.ones(2, 5))


def test_squared_distance_attention_is_the_textbook_softmax():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 6, 8)  # B=2, h=4, T=6, d=8
    logits = -(q[:, :, :, None] - k[:, :, None]).square().sum(dim=-1) * (8 * 8) ** -0.5
    torch.testing.assert_close(attend(q, k, v), logits.softmax(dim=-1) @ v, rtol=1e-5, atol=1e-6)
    # A vector added to all queries and keys changes no distance; rows sum to one.
    shift = torch.randn(8)
    torch.testing.assert_close(
        attend(q + shift, k + shift, v), attend(q, k, v), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(attend(q, k, torch.ones_like(v)), torch.ones_like(v))


def test_masked_diagonal_hides_a_token_from_itself_and_w_is_one_more():
    torch.manual_seed(0)
    layer = SelfAttention(8, 2, 4, 5, mask_self=True)
    x, w = torch.randn(1, 1, 8), torch.randn(1, 5)
    seen = layer(x, w)  # a single token sees w alone
    value = layer.to_v(layer.token(w)[:, None])
    torch.testing.assert_close(seen, layer.out(value))


def test_second_derivative_of_tied_attention_is_finite_on_the_plain_path():
    torch.manual_seed(0)
    layer = SelfAttention(8, 2, 4, 0)
    x = torch.randn(1, 49, 8, requires_grad=True)  # more than 25 tokens: where cdist's breaks
    with sdpa_kernel(SDPBackend.MATH):
        (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert layer.to_qk.weight.grad.isfinite().all()
    assert layer.to_qk.weight.grad.abs().max() > 0


def test_truncation_ends():
    torch.manual_seed(0)
    mapping = TextMapping(4, 6, 8, num_layers=2).eval()
    mapping.mean.value.normal_()
    z, text, draws = torch.randn(3, 4), torch.randn(3, 6), torch.randn(16, 4)
    w = mapping(z, text)
    torch.testing.assert_close(mapping.truncated(w, text, 1.0, draws), w)
    means = torch.stack([mapping(draws, row.expand(16, -1)).mean(dim=0) for row in text])
    torch.testing.assert_close(mapping.truncated(w, text, 0.0, draws), means)


def test_tiles_that_copy_their_pixels_leave_no_seam():
    image = torch.rand(3, 21, 34)

    def copied(tiles):
        return F.interpolate(tiles, scale_factor=4, mode="nearest")

    for blend in ("none", "equal", "smooth"):
        strips = list(upscale_strips(image, copied, side=8, factor=4, blend=blend))
        assert max(strip.shape[1] for strip in strips) == 32  # never more than a row of tiles
        torch.testing.assert_close(torch.cat(strips, dim=1), copied(image[None])[0])
    assert mirrored(torch.arange(-2, 6), 3).tolist() == [2, 1, 0, 1, 2, 1, 0, 1]
    assert mirrored(torch.arange(-2, 3), 1).tolist() == [0] * 5


def test_strips_come_one_by_one_and_tiles_in_small_batches():
    calls = []

    def counted(tiles):
        calls.append(len(tiles))
        return tiles.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3).float()

    image = torch.randint(0, 256, (3, 800, 20), dtype=torch.uint8)
    strips = upscale_strips(image, counted, side=8, factor=2, batch=2)
    next(strips)
    # Two rows of four tiles of the second pass, and one of three of the first.
    assert sum(calls) == 4 + 4 + 3
    assert max(calls) == 2
    next(strips)
    assert sum(calls) == 4 + 2 * (4 + 3)
    assert sum(1 for _ in strips) == 98


def test_a_transformer_sees_squares_of_its_own_size_and_a_cnn_the_whole():
    torch.manual_seed(0)
    vit, image = FakeVit(), torch.randn(2, 3, 48, 48)
    maps = feature_maps(vit, image)
    squares = [image[:, :, y : y + 16, x : x + 16] for y in (0, 16, 32) for x in (0, 16, 32)]
    for number, found in enumerate(maps):
        assert found.shape == (18, 16, 4, 4)
        for at, square in enumerate(squares):
            wanted = vit(square)[f"tap_{number}"].unflatten(2, (4, 4))
            torch.testing.assert_close(found.unflatten(0, (2, 9))[:, at], wanted)
    cnn = FakeCnn()
    wanted = list(cnn.pyramid(image, 48).values())
    assert all(torch.equal(x, y) for x, y in zip(feature_maps(cnn, image), wanted, strict=True))


@pytest.mark.parametrize("net", [FakeVit(), FakeCnn()], ids=["transformer", "CNN"])
def test_the_perceptual_distance_is_of_each_image_and_0_of_itself(net):
    torch.manual_seed(0)
    image, other = torch.randn(2, 2, 3, 32, 32)
    assert torch.equal(perceptual(net, image, image), torch.zeros(2))
    both = perceptual(net, image, other)
    assert (both > 0).all()
    for row in range(2):
        alone = perceptual(net, image[row : row + 1], other[row : row + 1])
        torch.testing.assert_close(alone[0], both[row])


def test_contrastive_loss_of_a_part_of_the_batch_is_that_part_of_the_whole():
    text_ND = F.normalize(torch.randn(8, 5), dim=1)
    text_ND[6] = text_ND[1]  # the same caption twice: no rivals of each other
    image_NCHW = torch.randn(8, 5, 1, 1)

    def clip(x_NCHW):
        return {"pooled": F.normalize(x_NCHW.flatten(1), dim=1)}

    whole_N = contrastive(clip, image_NCHW, text_ND, scale=7.0)
    parts = [contrastive(clip, image_NCHW[i], text_ND[i], text_ND, 7.0) for i in HALVES]
    torch.testing.assert_close(torch.cat(parts), whole_N)
    similarity_NN = 7.0 * clip(image_NCHW)["pooled"] @ text_ND.T
    for i in range(8):
        others = [j for j in range(8) if j == i or {i, j} != {1, 6}]
        wanted = F.cross_entropy(similarity_NN[i, others], torch.tensor(others.index(i)))
        torch.testing.assert_close(whole_N[i], wanted)
    alone_N = contrastive(clip, image_NCHW[:4], text_ND[:4], scale=7.0)
    assert (alone_N < whole_N[:4]).all()  # fewer rivals are less to learn from
