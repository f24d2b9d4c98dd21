import math

import pytest
import torch
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.layers.modulated_layer import ToRGB
from models.stylegan_t.blocks import ResidualLayer
from models.stylegan_t.generator import StyleGANTGenerator, SynthesisNetwork

LITE = {"channel_base": 32768, "channel_max": 512, "num_res_blocks": 2}
FULL = {"channel_base": 65536, "channel_max": 2048, "num_res_blocks": 3}
TINY = {"channel_base": 128, "channel_max": 16, "num_res_blocks": 1, "num_groups": 4, "z_dim": 8}

# Published sizes: (resolution, lite with text, lite without, its num_ws, full likewise).
COUNTS = [
    (32, 55_076_251, 35_019_163, 16, 877_008_289, 768_477_601, 22),
    (64, 74_556_835, 47_421_859, 21, 975_556_011, 845_791_659, 29),
    (128, 82_577_579, 51_313_835, 26, 1_005_955_509, 865_574_325, 36),
    (256, 85_703_219, 52_375_091, 31, 1_016_436_671, 870_747_071, 43),
    (512, 87_044_859, 52_684_539, 36, 1_020_497_609, 872_153_801, 50),
    (1024, 87_660_387, 52_783_971, 41, 1_022_233_171, 872_562_259, 57),
]


@pytest.mark.parametrize("row", COUNTS, ids=lambda row: str(row[0]))
def test_parameter_counts_are_the_published_ones(row):
    resolution, *expected = row
    found = []
    with torch.device("meta"):
        for preset in (LITE, FULL):
            nets = [
                StyleGANTGenerator(
                    resolution=resolution, shape=ConditionShape(pooled_dim=d), **preset
                )
                for d in (768, 0)
            ]
            found += [sum(p.numel() for p in net.parameters()) for net in nets]
            found.append(nets[0].num_ws)
    assert found == expected


def tiny(shape=None, resolution=32, **changes):
    torch.manual_seed(0)
    net = StyleGANTGenerator(
        resolution=resolution, shape=shape or ConditionShape(pooled_dim=6), **(TINY | changes)
    )
    for name, parameter in net.named_parameters():
        if name.endswith(("noise_strength", "gamma")):
            torch.nn.init.normal_(parameter)  # zero at first, which would hide noise and branches
    return net


def text(n, dim=6):
    return Condition(pooled_ND=F.normalize(torch.randn(n, dim), dim=1))


def test_residual_skip_carries_the_normalised_input():
    torch.manual_seed(0)
    layer = ResidualLayer(8, w_dim=4, resolution=4, gain=math.sqrt(0.5), num_groups=2)
    torch.nn.init.normal_(layer.norm.weight)
    x, w = torch.randn(2, 8, 4, 4) * 5 + 3, torch.randn(2, 4)
    y = layer(x, w, None)
    # The branch starts at 1e-5, so a fresh layer is sqrt(2) group norm, whatever x's scale.
    grouped = x.double().view(2, 2, 4, 4, 4)
    mean = grouped.mean((2, 3, 4), keepdim=True)
    variance = (grouped - mean).square().mean((2, 3, 4), keepdim=True)
    normal = ((grouped - mean) / (variance + 1e-5).sqrt()).view(2, 8, 4, 4)
    normal = normal * layer.norm.weight.double().view(1, 8, 1, 1)
    torch.testing.assert_close(y.double(), normal * 2**0.5, atol=1e-3, rtol=1e-3)
    layer.gamma.data.fill_(1.0)
    branch = layer(x, w, None).double() - normal * 2**0.5
    assert branch.abs().mean() > 0.1


def test_activations_and_colours_are_clamped():
    rgb = ToRGB(4, w_dim=2)
    assert rgb(torch.full((1, 4, 2, 2), 1e9), torch.randn(1, 2)).abs().max() <= 256


def test_codes_are_mapped_noise_then_text():
    net = tiny().eval()
    condition, z = text(3), torch.randn(3, 8)
    ws = net.map(z, condition)
    assert ws.shape == (3, net.num_ws, 14)
    assert torch.equal(ws[:, 0, 8:], condition.pooled_ND)
    assert torch.equal(ws[:, 0], ws[:, -1])
    # The length of z does not matter, its direction does.
    torch.testing.assert_close(net.map(z * 7, condition), ws, atol=1e-5, rtol=1e-5)


def test_truncation_draws_to_the_mean_but_leaves_the_text():
    net = tiny().eval()
    torch.nn.init.normal_(net.mapping.mean.value)
    condition, z = text(4), torch.randn(4, 8)
    full, mean = net.map(z, condition), net.map(z, condition, 0.0)
    torch.testing.assert_close(mean[:, 0, :8], net.mapping.mean.value.expand(4, -1))
    per_sample = net.map(z, condition, torch.tensor([1.0, 0.0, 0.5, 0.5]))
    torch.testing.assert_close(per_sample[0], full[0])
    torch.testing.assert_close(per_sample[1], mean[1])
    torch.testing.assert_close(per_sample[2], (full[2] + mean[2]) / 2)
    assert torch.equal(per_sample[:, :, 8:], full[:, :, 8:])


def test_mean_follows_training_forwards_only():
    net = tiny()
    net.eval().map(torch.randn(4, 8), text(4))
    net.train().map(torch.randn(4, 8), text(4))
    assert net.mapping.mean.gathered[-1] == 4
    net.freeze_up_to(16)
    net.map(torch.randn(4, 8), text(4))
    assert net.mapping.mean.gathered[-1] == 4


def test_noise_modes():
    net = tiny().eval()
    ws = net.map(torch.randn(2, 8), text(2))
    const, none = net.synthesize(ws), net.synthesize(ws, noise="none")
    drawn = net.draw_noise(2, torch.Generator().manual_seed(1))
    assert [tuple(x.shape) for x in drawn] == [
        (2, 1, r, r) for r, count in ((8, 2), (16, 3), (32, 3)) for _ in range(count)
    ]
    random = net.synthesize(ws, noise=drawn)
    assert const.shape == (2, 3, 32, 32)
    for a, b in ((const, none), (const, random), (none, random)):
        assert (a - b).abs().max() > 1e-3
    zeros = [torch.zeros_like(x) for x in drawn]
    torch.testing.assert_close(net.synthesize(ws, noise=zeros), none)
    with pytest.raises(ValueError, match="8 layers take noise, got 7"):
        net.synthesize(ws, noise=drawn[:-1])
    with pytest.raises(ValueError, match="random"):
        net.synthesize(ws, noise="random")


def test_bfloat16_autocast_stays_close_and_returns_float32():
    net = tiny().eval()
    ws = net.map(torch.randn(2, 8), text(2))
    exact = net.synthesize(ws)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net.synthesize(net.map(torch.randn(2, 8), text(2)) * 0 + ws)
    assert rough.dtype == torch.float32
    assert (rough - exact).std() < 0.05 * exact.std()
    assert not torch.equal(rough, exact)


def test_checkpointing_changes_memory_not_gradients():
    net = tiny()
    ws = net.map(torch.randn(2, 8), text(2)).detach()
    gradients = []
    for switch in (False, True):
        net.synthesis.checkpoint_activations = switch
        net.zero_grad()
        net.synthesize(ws).square().mean().backward()
        gradients.append({k: p.grad for k, p in net.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)


def test_one_sample_does_not_depend_on_its_batch():
    net = tiny().eval()
    condition, z = text(5), torch.randn(5, 8)
    together = net(z, condition)
    alone = net(z[3:4], condition[3:4])
    torch.testing.assert_close(together[3:4], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [ConditionShape(), ConditionShape(num_labels=5)])
def test_works_without_text(shape):
    net = tiny(shape=shape, resolution=16).eval()
    labels = Condition(label_N=torch.tensor([0, 4]))
    z = torch.randn(1, 8).expand(2, -1)
    images = net(z, labels)
    assert images.shape == (2, 3, 16, 16)
    assert torch.equal(images[0], images[1]) == (shape.num_labels == 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resolution": 48}, "power of two"),
        ({"resolution": 4}, "got 4"),
        ({"num_groups": 5}, "5 groups"),
    ],
)
def test_refuses_sizes_that_cannot_be_built(changes, words):
    sizes = {
        "resolution": 16,
        "channel_base": 64,
        "channel_max": 8,
        "num_res_blocks": 1,
        "num_groups": 4,
    }
    with pytest.raises(ValueError, match=words):
        SynthesisNetwork(4, **(sizes | changes))
