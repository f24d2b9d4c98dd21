import pytest
import torch
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.stylegan2.generator import StyleGAN2Generator

TINY = {"z_dim": 6, "w_dim": 8, "num_mapping_layers": 2, "channel_base": 64, "channel_max": 8}


def tiny(shape=None, **changes):
    torch.manual_seed(0)
    sizes = TINY | {"resolution": 16} | changes
    net = StyleGAN2Generator(shape=shape or ConditionShape(), **sizes)
    for name, parameter in net.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.normal_(parameter)  # zero at first, which would hide the noise
    return net


@pytest.mark.parametrize(
    ("resolution", "expected"), [(256, 24_615_586), (512, 24_759_527), (1024, 24_803_852)]
)
def test_parameter_counts_are_the_published_ones(resolution, expected):
    with torch.device("meta"):
        net = StyleGAN2Generator(
            resolution=resolution,
            shape=ConditionShape(),
            z_dim=64,
            w_dim=128,
            num_mapping_layers=2,
        )
    assert sum(p.numel() for p in net.parameters()) == expected
    assert net.num_ws == 2 * (resolution.bit_length() - 1) - 2


def test_noise_modes_and_checkpointing():
    net = tiny().eval()
    ws = net.map(torch.randn(2, 6), Condition())
    drawn = net.draw_noise(2, torch.Generator().manual_seed(1))
    assert [x.shape[-1] for x in drawn] == [4, 8, 8, 16, 16]
    const, none, random = (net.synthesize(ws, noise=x) for x in ("const", "none", drawn))
    assert const.shape == (2, 3, 16, 16)
    for a, b in ((const, none), (const, random), (none, random)):
        assert (a - b).abs().max() > 1e-3
    torch.testing.assert_close(net.synthesize(ws, noise=[x * 0 for x in drawn]), none)
    net.synthesis.checkpoint_activations = True
    torch.testing.assert_close(net.synthesize(ws), const)
    with pytest.raises(ValueError, match="5 layers take noise, got 4"):
        net.synthesize(ws, noise=drawn[:-1])


@pytest.mark.parametrize("shape", [ConditionShape(num_labels=3), ConditionShape(pooled_dim=5)])
def test_class_or_text_decides_and_truncation_draws_to_one_mean(shape):
    net, z = tiny(shape).eval(), torch.randn(1, 6).expand(2, -1)
    torch.nn.init.normal_(net.mapping.mean.value)
    vectors = F.normalize(torch.randn(2, 5), dim=1)
    given = Condition(label_N=torch.tensor([0, 2]), pooled_ND=vectors)
    ws = net.map(z, given)
    assert (ws[0] - ws[1]).abs().max() > 1e-2
    torch.testing.assert_close(net.map(z, given, 0.0)[:, 1], net.mapping.mean.value.expand(2, -1))
    net.train().map(z, given)
    assert net.mapping.mean.gathered[-1] == 2


def test_clamp_bounds_activations():
    free, bounded = tiny().eval(), tiny(clamp=0.05).eval()
    ws = free.map(torch.randn(2, 6), Condition())
    image = bounded.synthesize(ws)
    # Three images of at most 0.05, summed.
    assert image.abs().max() <= 0.15 + 1e-6
    assert free.synthesize(ws).abs().max() > 0.2


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"resolution": 24}, "power of two from 4"), ({"channel_base": 8}, "channel_base is 8")],
)
def test_refuses_sizes_that_cannot_be_built(changes, words):
    with pytest.raises(ValueError, match=words):
        tiny(**changes)
