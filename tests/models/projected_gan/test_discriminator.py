"""The projected discriminator: published sizes, both mixings, classes, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.interfaces import Condition, ConditionShape
from models.projected_gan.discriminator import ProjectedDiscriminator, ScaleDiscriminator
from models.projected_gan.feature_projection import FeatureProjection

LITE0 = [24, 40, 112, 320]  # channels of tf_efficientnet_lite0's maps
CHANNELS, SIDES = [3, 4, 5, 6], [16, 8, 4, 2]


def maps_of(channels=CHANNELS, sides=SIDES, n=4):
    rng = torch.Generator().manual_seed(0)
    pairs = zip(channels, sides, strict=True)
    return {f"stage_{i}": torch.randn(n, c, s, s, generator=rng) for i, (c, s) in enumerate(pairs)}


def small(shape=None, **fields):
    fields = {"width": 4, "width_max": 4, "cmap_dim": 4, "label_dim": 4} | fields
    return ProjectedDiscriminator(
        channels=CHANNELS, sides=SIDES, shape=shape or ConditionShape(), **fields
    )


@pytest.mark.parametrize(
    ("fields", "labels", "trained"),
    [({}, 0, 10_331_328), ({}, 1000, 12_940_736), ({"separable": True}, 0, 696_512)],
)
def test_published_sizes_and_logits(fields, labels, trained):
    sizes = {224: 64, 256: 100, 512: 4 * 13**2}  # at 512 px the maps grow, not the network
    for size, logits in sizes.items():
        sides = [size // stride for stride in (4, 8, 16, 32)]
        with torch.device("meta"):
            net = ProjectedDiscriminator(
                channels=LITE0, sides=sides, shape=ConditionShape(num_labels=labels), **fields
            )
            maps = {f"stage_{i}": torch.empty(2, LITE0[i], s, s) for i, s in enumerate(sides)}
            condition = Condition(label_N=torch.empty(2, dtype=torch.long))
            assert net(maps, condition).shape == (2, logits)
        assert sum(p.numel() for p in net.parameters()) == trained
        assert sum(b.numel() for b in net.projection.buffers()) == 376_768
        assert net.projection.out_channels == [64, 64, 128, 256]


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("expand", [True, False])
def test_both_mixings_against_their_formulas(kernel, expand):
    """Channels: one pointwise map each. Scales, from the smallest: add, double, convolve."""
    net = FeatureProjection(CHANNELS, width=4, expand=expand, kernel_size=kernel)
    maps = [x.double() for x in maps_of().values()]

    def convolve(conv, x):
        weight, bias = conv.weight.double(), conv.bias.double()
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    mixed = [convolve(c, x) for c, x in zip(net.channel_mixing, maps, strict=True)]
    wanted, deep = [], 0.0
    for step, x in zip(reversed(net.scale_mixing), reversed(mixed), strict=True):
        wide = F.interpolate(x + deep, scale_factor=2, mode="bilinear", align_corners=True)
        deep = convolve(step.conv, wide)
        wanted.insert(0, deep)
    for ours, theirs in zip(net([x.float() for x in maps]), wanted, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)
    assert [x.shape[1] for x in wanted] == ([4, 4, 8, 16] if expand else [4] * 4)


def test_levels_and_the_seed_of_the_projection():
    maps = list(maps_of().values())
    nothing, channels = (FeatureProjection(CHANNELS, level=level, width=4) for level in (0, 1))
    assert all(a is b for a, b in zip(nothing(maps), maps, strict=True))
    assert not list(nothing.buffers())
    assert [tuple(x.shape[1:]) for x in channels(maps)] == [
        (4, 16, 16),
        (8, 8, 8),
        (16, 4, 4),
        (32, 2, 2),
    ]
    torch.manual_seed(1)
    one = FeatureProjection(CHANNELS, width=4, seed=5).state_dict()
    torch.manual_seed(2)
    two = FeatureProjection(CHANNELS, width=4, seed=5).state_dict()
    other = FeatureProjection(CHANNELS, width=4, seed=6).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_the_projection_is_kept_but_never_trained():
    net = small()
    assert not any(name.startswith("projection") for name, _ in net.named_parameters())
    assert sum(name.startswith("projection") for name in net.state_dict()) == 16
    maps = {name: x.requires_grad_() for name, x in maps_of().items()}
    net(maps, Condition()).sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in maps.values())


def test_real_and_fake_keep_their_own_statistics():
    torch.manual_seed(0)
    net, maps = small(ConditionShape(num_labels=3)), maps_of(n=8)
    condition = Condition(label_N=torch.tensor([0, 1, 2, 1]))
    halves = [{k: x.chunk(2)[i] for k, x in maps.items()} for i in range(2)]
    apart = torch.cat([net(half, condition) for half in halves])
    torch.testing.assert_close(net(maps, condition, parts=2), apart)


def test_class_projection_against_its_formula():
    torch.manual_seed(0)
    shape = ConditionShape(num_labels=3)
    head = ScaleDiscriminator(4, first_size=8, shape=shape, cmap_dim=5, label_dim=6)
    x, label = torch.randn(2, 4, 8, 8).double(), torch.tensor([2, 0])
    last = head.classify
    weight = last.weight.double()
    out = F.conv2d(x, weight / (last.u.double() @ weight.flatten(1) @ last.v.double()))
    vector = head.condition.table[label].double() @ head.project.weight.double().t()
    vector = F.leaky_relu(vector + head.project.bias.double(), 0.2)
    wanted = torch.einsum("nmhw,nm->nhw", out, vector)[:, None] / 5**0.5
    ours = head(x.float(), Condition(label_N=label))
    torch.testing.assert_close(ours.double(), wanted, rtol=1e-4, atol=1e-5)


def test_maps_that_do_not_fit_are_refused():
    shape = ConditionShape()
    with pytest.raises(ValueError, match=r"\[15, 8, 4, 2\] px: each must be twice the next"):
        ProjectedDiscriminator(channels=CHANNELS, sides=[15, 8, 4, 2], shape=shape)
    with pytest.raises(ValueError, match="smallest map has 2 px, at least 4 wanted"):
        small(level=1)
    with pytest.raises(ValueError, match="channels of 4 maps"):
        FeatureProjection([3, 4, 5])


def test_separable_blocks_halve_by_pooling():
    head = ScaleDiscriminator(4, first_size=16, width=4, separable=True)
    assert head(torch.randn(2, 4, 16, 16), Condition()).shape == (2, 1, 5, 5)
    assert isinstance(head.blocks[0].depthwise, nn.Module)
    assert sum(p.numel() for p in head.blocks[0].parameters()) == 4 * 9 + 16 + 8
