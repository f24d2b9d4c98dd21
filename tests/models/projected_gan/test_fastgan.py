"""FastGAN: published sizes, every resolution, skip-layer excitation, conditions, noise."""

import pytest
import torch
import torch.nn.functional as F

from models.interfaces import Condition, ConditionShape
from models.projected_gan.fastgan import FastGANGenerator
from models.projected_gan.fastgan_blocks import SkipExcitation

CLASSES = ConditionShape(num_labels=1000)


def build(resolution, shape=None, **sizes):
    sizes = {"z_dim": 8, "base_channels": 2 if resolution < 256 else 8} | sizes
    return FastGANGenerator(resolution=resolution, shape=shape or ConditionShape(), **sizes)


@pytest.mark.parametrize(
    ("resolution", "lite", "shape", "published"),
    [
        (256, False, None, 105_684_175),
        (512, False, None, 105_870_961),
        (1024, False, None, 105_884_483),
        (256, True, None, 79_354_307),
        (512, True, None, 79_522_531),
        (1024, True, None, 79_531_379),
        (256, False, CLASSES, 110_527_689),
        (256, True, CLASSES, 81_904_067),
    ],
)
def test_published_parameter_counts(resolution, lite, shape, published):
    with torch.device("meta"):
        net = build(resolution, shape, z_dim=256, base_channels=128, lite=lite)
    assert sum(p.numel() for p in net.parameters()) == published


@pytest.mark.parametrize("lite", [False, True])
@pytest.mark.parametrize("shape", [None, ConditionShape(num_labels=3)])
def test_small_and_large_conditional_or_not(lite, shape):
    """The published code fails below 128 px and, with classes, above 256 px."""
    for resolution in (32, 64, 1024):
        with torch.device("meta"):
            net = build(resolution, shape, lite=lite)
            label = torch.zeros(2, dtype=torch.long)
            ws = net.map(torch.zeros(2, 8), Condition(label_N=label if shape else None))
            image = net.synthesize(ws)
        assert ws.shape == (2, net.num_ws, net.w_dim)
        assert image.shape == (2, 3, resolution, resolution)


@pytest.mark.parametrize("resolution", [4, 48, 2048])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(ValueError, match=f"power of two from 8 to 1024, got {resolution}"):
        build(resolution)
    with pytest.raises(ValueError, match="base_channels 1 leaves no channel at 256 px"):
        build(256, base_channels=1)


def test_skip_excitation_against_its_formula():
    torch.manual_seed(0)
    gate, low, high = SkipExcitation(3, 5), torch.randn(2, 3, 8, 8), torch.randn(2, 5, 16, 16)

    def weight(layer):
        w = layer.weight.double()
        return w / (layer.u.double() @ w.flatten(1) @ layer.v.double())

    squeezed = F.conv2d(F.adaptive_avg_pool2d(low.double(), 4), weight(gate.squeeze))
    excited = F.conv2d(squeezed * squeezed.sigmoid(), weight(gate.excite)).sigmoid()
    assert excited.shape == (2, 5, 1, 1)
    torch.testing.assert_close(gate(low, high).double(), high * excited, rtol=1e-5, atol=1e-6)


def test_noise_counts_only_with_a_strength():
    torch.manual_seed(0)
    net = build(16).eval()
    ws = net.map(torch.randn(2, 8), Condition())
    rng = torch.Generator().manual_seed(1)
    drawn = net.draw_noise(2, rng)
    assert [noise.shape[-1] for noise in drawn] == [8, 8, 16, 16]
    images = [net.synthesize(ws, noise=noise) for noise in ("const", "none", drawn)]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])
    torch.nn.init.ones_(net.blocks["16"].noise[1].strength)
    images = [net.synthesize(ws, noise=noise) for noise in ("const", "none", drawn, "const")]
    assert not torch.allclose(images[0], images[1])
    assert not torch.allclose(images[0], images[2])
    assert torch.equal(images[0], images[3])
    assert build(16, lite=True).draw_noise(2, rng) == []
    with pytest.raises(ValueError, match="4 layers take noise, got 1"):
        net.synthesize(ws, noise=drawn[:1])
    with pytest.raises(ValueError, match="noise must be"):
        net.synthesize(ws, noise="some")


def test_truncation_zero_is_one_image_and_the_scale_of_z_is_none():
    torch.manual_seed(0)
    net, z = build(16).eval(), torch.randn(2, 8)
    assert torch.equal(net.map(z, Condition(), 0.0), torch.zeros(2, 1, 8))
    torch.testing.assert_close(net.map(3 * z, Condition()), net.map(z, Condition()))
    half = net.map(z, Condition(), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(half[1] * 2, net.map(z, Condition())[1])
    torch.testing.assert_close(half.square().mean(dim=2)[0], torch.ones(1))


@pytest.mark.parametrize("kind", ["label", "text"])
def test_the_condition_reaches_every_block(kind):
    torch.manual_seed(0)
    shape = ConditionShape(num_labels=3) if kind == "label" else ConditionShape(pooled_dim=6)
    net = build(16, shape).eval()
    text = F.normalize(torch.randn(2, 6), dim=1)
    condition = Condition(label_N=torch.tensor([0, 1]), pooled_ND=text)
    ws = net.map(torch.randn(1, 8).expand(2, -1), condition).detach().requires_grad_()
    images = net.synthesize(ws)
    assert not torch.allclose(images[0], images[1])
    images.square().sum().backward()
    assert (ws.grad[:, 1:, 8:].abs().sum(dim=(0, 2)) > 0).all()
    if kind == "text":  # as strong as a noise vector, not as faint as a unit vector
        torch.testing.assert_close(ws[:, 0, 8:].square().mean(dim=1), torch.ones(2))
    with pytest.raises(ValueError, match="the network wants"):
        net.map(torch.randn(2, 8), Condition())
