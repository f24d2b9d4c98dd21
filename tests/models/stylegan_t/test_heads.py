import pytest
import torch
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.stylegan_t.discriminator import StyleGANTDiscriminator


def build(num_taps=2, tap_dim=16, shape=None, **changes):
    torch.manual_seed(0)
    shape = shape or ConditionShape(pooled_dim=6)
    return StyleGANTDiscriminator(num_taps=num_taps, tap_dim=tap_dim, shape=shape, **changes)


def make_taps(n, num=2, dim=16, tokens=16):
    return {f"tap_{i}": torch.randn(n, dim, tokens) for i in range(num)}


def text(n):
    return Condition(pooled_ND=F.normalize(torch.randn(n, 6), dim=1))


@pytest.mark.parametrize(("width", "count"), [(768, 7_753_600), (0, 7_386_245)])
def test_full_size_has_the_published_parameters_and_980_logits(width, count):
    net = build(num_taps=5, tap_dim=384, shape=ConditionShape(pooled_dim=width))
    condition = Condition(pooled_ND=torch.randn(2, width) if width else None)
    with torch.no_grad():
        logits = net(make_taps(2, num=5, dim=384, tokens=196), condition)
    assert sum(p.numel() for p in net.parameters()) == count
    assert logits.shape == (2, 980)


@pytest.mark.parametrize("n", [4, 8, 12, 16])
def test_real_and_fake_in_one_pass_equal_two_passes(n):
    net = build()
    real, fake, condition = make_taps(n), make_taps(n), text(n)
    both = {k: torch.cat([real[k], fake[k] + 5]) for k in real}
    fake = {k: v + 5 for k, v in fake.items()}
    together = net(both, condition, parts=2)
    expected = torch.cat([net(real, condition), net(fake, condition)])
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-4)


def test_statistics_reach_no_further_than_eight_samples():
    net, taps, condition = build(), make_taps(16), text(16)
    before = net(taps, condition)
    taps["tap_0"][:8] += 3 * torch.randn(8, 16, 16)
    after = net(taps, condition)
    torch.testing.assert_close(before[8:], after[8:])
    assert (before[:8] - after[:8]).abs().max() > 0.1


def test_logits_are_a_projection_on_the_text():
    net, taps = build(num_taps=1), make_taps(4, num=1)
    # Linear in the text but for the bias of the projection, so differences are additive.
    a, b, zero = (torch.randn(4, 6) for _ in range(3))
    logits = [net(taps, Condition(pooled_ND=t)) for t in (a, b, zero, a + b - zero)]
    expected = logits[0] + logits[1] - logits[2]
    torch.testing.assert_close(logits[3], expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="text embedding"):
        net(taps, Condition())


def test_uneven_micro_batch_is_refused():
    with pytest.raises(ValueError, match="micro-batch of 9"):
        build()(make_taps(9), text(9))


def test_bfloat16_autocast_stays_close():
    net, taps, condition = build(), make_taps(8), text(8)
    exact = net(taps, condition)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(taps, condition)
    assert rough.dtype == torch.float32
    assert (rough - exact).std() < 0.05 * exact.std()
