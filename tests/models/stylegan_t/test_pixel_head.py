"""The head that sees the picture, and the input that z shifts: what makes seeds differ in place."""

import pytest
import torch
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.layers.fourier import FourierInput
from models.stylegan_t.discriminator import PIXELS, StyleGANTDiscriminator
from models.stylegan_t.generator import StyleGANTGenerator

TEXT = ConditionShape(pooled_dim=6)


def heads(**changes):
    torch.manual_seed(0)
    return StyleGANTDiscriminator(num_taps=2, tap_dim=16, shape=TEXT, **changes)


def seen(n, side=32):
    taps = {f"tap_{i}": torch.randn(n, 16, 10) for i in range(2)}
    return {**taps, PIXELS: torch.rand(n, 3, side, side) * 2 - 1}


def text(n):
    return Condition(pooled_ND=F.normalize(torch.randn(n, 6), dim=1))


def test_the_picture_has_as_much_say_as_all_tokens():
    net, both, condition = heads(pixel_head=8), seen(4), text(4)
    logits = net(both, condition)
    alone = net.pixel_head(both[PIXELS], condition.pooled_ND)
    assert logits.shape == (4, 40)
    torch.testing.assert_close(logits[:, 20:], alone.expand(-1, 20))
    tokens = heads()
    tokens.load_state_dict({k: v for k, v in net.state_dict().items() if "pixel_head" not in k})
    torch.testing.assert_close(logits[:, :20], tokens(both, condition))


def test_the_logit_is_a_projection_on_the_text():
    head, both = heads(pixel_head=8).pixel_head, seen(3)
    a, b = torch.randn(3, 6), torch.randn(3, 6)
    zero = torch.zeros(3, 6)
    sums = head(both[PIXELS], a) + head(both[PIXELS], b) - head(both[PIXELS], zero)
    torch.testing.assert_close(head(both[PIXELS], a + b), sums, atol=1e-5, rtol=1e-4)


def test_it_tells_where_an_object_is_which_a_mean_over_places_cannot():
    """Two pictures with the same pixels in other places get other logits."""
    head = heads(pixel_head=8).pixel_head
    picture = -torch.ones(1, 3, 32, 32)
    picture[..., 8:16, 8:16] = 1
    moved = picture.roll((8, 8), dims=(2, 3))
    assert picture.sum() == moved.sum()
    assert (head(picture, torch.ones(1, 6)) - head(moved, torch.ones(1, 6))).abs() > 1e-3


def test_any_size_is_seen_at_one_size():
    head, vector = heads(pixel_head=8).pixel_head, torch.ones(2, 6)
    small = torch.rand(2, 3, 32, 32)
    large = small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(head(large, vector), head(small, vector))


def test_its_spectral_norms_advance_with_the_others():
    net = heads(pixel_head=8)
    before = net.pixel_head.look.u.clone()
    with torch.no_grad():
        net.pixel_head.look.weight.mul_(torch.rand_like(net.pixel_head.look.weight))
    net.advance()
    assert not torch.equal(before, net.pixel_head.look.u)


def shifts(generator, z):
    ws = generator.map(z, text(len(z)))
    affine = generator.synthesis.blocks["8"].first.affine(ws[:, 0])
    return affine[:, 2:] / affine[:, :2].norm(dim=1, keepdim=True)


def generator(**changes):
    torch.manual_seed(3)
    sizes = {"channel_base": 128, "channel_max": 16, "num_res_blocks": 1, "num_groups": 4}
    return StyleGANTGenerator(resolution=16, shape=TEXT, z_dim=8, **sizes, **changes)


def test_z_shifts_a_fresh_input_by_the_stated_deviation():
    z = torch.randn(4000, 8)
    assert shifts(generator(), z).abs().max() == 0
    moved = shifts(generator(input_shift=0.2), z).detach()
    assert moved.std(dim=0).tolist() == pytest.approx([0.2, 0.2], rel=0.35)
    assert abs(float(torch.corrcoef(moved.t())[0, 1])) < 0.5


def test_a_shift_by_whole_pixels_is_a_roll_of_the_waves():
    """One pixel of 8 is a shift of 1/8 of the side: the waves' values move by one column."""
    torch.manual_seed(0)
    waves = FourierInput(4, 6, size=8, sampling_rate=8, bandwidth=2)
    with torch.no_grad():
        waves.affine.weight[2, 0] = 1 / 8 / waves.affine.weight_gain
    still, moved = waves(torch.zeros(1, 4)), waves(torch.tensor([[1.0, 0, 0, 0]]))
    torch.testing.assert_close(moved[..., 1:], still[..., :-1], atol=1e-4, rtol=1e-4)


def test_two_directions_need_two_entries():
    with pytest.raises(ValueError, match="2 entries"):
        FourierInput(4, 6, size=8, sampling_rate=8, bandwidth=2).start_shifted(1, 0.2)
