"""The layer tables, and what each layer promises."""

import pytest
import torch

from models.stylegan_xl.alias_free import AliasFreeSynthesis
from models.stylegan_xl.alias_free_plan import BandRules, num_kept

SMALL = BandRules(channel_base=256, channel_max=8)


def test_published_table_of_the_stem():
    plan = BandRules(channel_base=65536, channel_max=1024).stem(16, 10)
    cutoffs = [2, 2.378, 2.828, 3.364, 4, 4.757, 5.657, 6.727, 8, 8, 8]
    for layer, cutoff in zip(plan, cutoffs, strict=True):
        assert layer.after.cutoff == pytest.approx(cutoff, abs=5e-4)
    assert [x.after.size for x in plan] == [36] * 9 + [16, 16]
    assert {x.after.channels for x in plan[:-1]} == {1024}
    assert [x.critical for x in plan] == [False] * 8 + [True] * 3
    assert [x.is_rgb for x in plan] == [False] * 10 + [True]
    assert plan[0].after.half_width == 6
    assert plan[-1].after.half_width == pytest.approx(1.849, abs=5e-4)


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
@pytest.mark.parametrize("num_critical", [1, 2, 3])
def test_a_head_takes_over_where_the_stem_is_cut(factor, num_critical):
    rules = BandRules(channel_base=256, channel_max=8, num_critical=num_critical)
    stem = rules.stem(16, 7)
    grown = rules.grow(stem, 16 * factor, 5)
    kept = num_kept(stem)
    assert kept == 7 - num_critical
    assert grown[:kept] == stem[:kept]
    assert len(grown) == kept + 6
    first = grown[kept]
    assert first.before == first.after  # the head's first layer keeps the rate
    assert (first.before.size, first.before.rate) == (stem[kept].before.size, 16)
    assert first.before.cutoff == stem[kept - 1].after.cutoff
    assert grown[-1].after.size == 16 * factor
    for a, b in zip(grown[kept:], grown[kept + 1 :], strict=False):
        assert a.after == b.before


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: SMALL.stem(24, 7), "power of two"),
        (lambda: SMALL.stem(16, 2), "at least 3 are needed"),
        (lambda: SMALL.grow(SMALL.stem(16, 7), 48, 4), "from 16 px, 48 px is none"),
        (lambda: SMALL.grow(SMALL.stem(16, 7), 16, 4), "from 16 px, 16 px is none"),
        (lambda: BandRules(channel_base=4).stem(64, 7), "channel_base is 4"),
    ],
)
def test_refuses_what_cannot_be_built(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def tiny(kernel=3, radial=False):
    torch.manual_seed(0)
    net = AliasFreeSynthesis(6, SMALL.stem(16, 4), kernel=kernel, radial=radial)
    for layer in net.layers:
        layer.magnitude.fill_(0.7)
    return net


@pytest.mark.parametrize(("kernel", "radial"), [(3, False), (1, True)])
def test_one_sample_does_not_depend_on_its_batch_nor_the_image_on_the_memory(kernel, radial):
    net = tiny(kernel, radial)
    ws = torch.randn(3, net.num_ws, 6)
    together = net(ws)
    assert together.shape == (3, 3, 16, 16)
    torch.testing.assert_close(net(ws[1:2]), together[1:2], atol=1e-5, rtol=1e-5)
    together.square().mean().backward()
    plain = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    net.checkpoint_activations = True
    for layer in net.layers[:-1]:
        layer.activation.memory_elements = 1
    bounded = net(ws)
    bounded.square().mean().backward()
    torch.testing.assert_close(bounded, together, atol=1e-6, rtol=1e-5)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name], atol=1e-5, rtol=1e-4, msg=name)


def test_magnitude_scales_the_features_and_never_moves():
    net = tiny()
    ws = torch.randn(1, net.num_ws, 6)
    before = net.train()(ws)
    assert net.layers[0].magnitude == torch.tensor(0.7)
    layer, x = net.layers[-1], torch.randn(1, 8, 16, 16)
    scaled = layer(x, ws[:, 0])
    layer.magnitude.fill_(0.7 * 4)
    torch.testing.assert_close(layer(x, ws[:, 0]), scaled / 2)
    assert (net(ws) - before).abs().max() > 1e-3


def test_bfloat16_autocast_stays_close_and_returns_float32():
    net = tiny().eval()
    ws = torch.randn(2, net.num_ws, 6)
    exact = net(ws)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(ws)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).std() < 0.05 * exact.std()
