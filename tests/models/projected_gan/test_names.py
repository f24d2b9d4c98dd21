"""The authors' names, conditional and lite forms included, which the parity files do not hold."""

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm

from models.interfaces import Condition, ConditionShape
from models.projected_gan.discriminator import ProjectedDiscriminator, ScaleDiscriminator
from models.projected_gan.fastgan import FastGANGenerator
from models.projected_gan.names import (
    load_discriminator,
    load_generator,
    load_scale_discriminator,
    load_synthesis,
)

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
SPECTRAL = ("weight_orig", "weight_u", "weight_v")
Z, BASE, CLASSES = 6, 8, 3


def generator(resolution, *, lite, conditional):
    shape = ConditionShape(num_labels=CLASSES) if conditional else ConditionShape()
    torch.manual_seed(0)
    return FastGANGenerator(
        resolution=resolution, shape=shape, z_dim=Z, base_channels=BASE, lite=lite
    )


def authors_generator(net, *, lite, conditional):
    """Return the tensors of `net` under the authors' names, with branches that it does not use."""
    theirs = {}

    def spectral(name, layer):
        theirs.update({f"{name}.weight_orig": layer.weight, f"{name}.weight_u": layer.u})
        theirs[f"{name}.weight_v"] = layer.v
        if layer.bias is not None:
            theirs[f"{name}.bias"] = layer.bias

    def norm(name, layer):
        if conditional and "init" not in name:
            spectral(f"{name}.gain", layer.gain)
            spectral(f"{name}.bias", layer.shift)
            theirs[f"{name}.stored_mean"] = layer.norm.running_mean
            theirs[f"{name}.stored_var"] = layer.norm.running_var
        else:
            theirs.update({f"{name}.{n}": getattr(layer, n) for n in NORM[:-1]})
            theirs[f"{name}.num_batches_tracked"] = torch.tensor(3)

    spectral("init.init.0", net.first.conv)
    norm("init.init.1", net.first.norm)
    for size, block in net.blocks.items():
        for i, stage in enumerate(block.stages):
            plain = {True: (("1", "2"),), False: (("1", "3"), ("5", "7"))}[lite]
            named = (("conv", "bn"),) if lite else (("conv1", "bn1"), ("conv2", "bn2"))
            conv_name, norm_name = (named if conditional else plain)[i]
            spectral(f"feat_{size}.{conv_name}", stage.conv)
            norm(f"feat_{size}.{norm_name}", stage.norm)
        for i, noise in enumerate(block.noise):
            name = "noise" if conditional else ("2", "6")[i]
            theirs[f"feat_{size}.{name}.weight"] = noise.strength.view(1) + 0.5
    for size, gate in net.excitations.items():
        spectral(f"se_{size}.main.1", gate.squeeze)
        spectral(f"se_{size}.main.3", gate.excite)
    spectral("to_big", net.to_rgb)
    if conditional:
        theirs["embed.weight"] = net.condition.table
    return {name: t.detach().clone() for name, t in theirs.items()}


@pytest.mark.parametrize("lite", [False, True])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("resolution", [64, 512])
def test_generators_of_all_kinds(lite, conditional, resolution):
    kind = {"lite": lite, "conditional": conditional}
    source = generator(resolution, **kind)
    theirs = authors_generator(source, **kind)
    if resolution < 256:  # they always build these, and never use them here
        theirs |= {"feat_256.1.weight_orig": torch.ones(1), "se_128.main.1.bias": torch.ones(1)}
    target = generator(resolution, **kind)
    for parameter in target.parameters():
        nn.init.zeros_(parameter)
    load_generator(target, {f"synthesis.{name}": t for name, t in theirs.items()})
    for name, tensor in source.state_dict().items():
        wanted = tensor + 0.5 if name.endswith("strength") else tensor
        assert torch.equal(target.state_dict()[name], wanted), name


def test_what_does_not_fit_is_listed():
    net = generator(16, lite=False, conditional=False)
    theirs = authors_generator(net, lite=False, conditional=False)
    theirs["to_small.weight_orig"] = theirs.pop("to_big.weight_orig")
    with pytest.raises(ValueError, match=r"unknown: to_small.*missing.*to_rgb\.weight"):
        load_synthesis(net, theirs)


class AuthorsHead(nn.Module):
    """A discriminator of one scale from torch's own layers, under the authors' names."""

    def __init__(self, separable):
        super().__init__()

        def block(before, after):
            if separable:
                first = nn.Module()
                first.depthwise = spectral_norm(
                    nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
                )
                first.pointwise = spectral_norm(nn.Conv2d(before, after, 1, bias=False))
                first.forward = lambda x: first.pointwise(first.depthwise(x))
            else:
                first = spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1))
            end = [nn.AvgPool2d(2)] if separable else []
            body = nn.Module()
            body.main = nn.Sequential(first, nn.BatchNorm2d(after), nn.LeakyReLU(0.2), *end)
            body.forward = lambda x: body.main(x)
            return body

        self.main = nn.Sequential(block(4, 6), block(6, 6))
        self.cls = spectral_norm(nn.Conv2d(6, 5, 4, bias=False))
        self.embed = nn.Embedding(CLASSES, 7)
        self.embed_proj = nn.Sequential(nn.Linear(7, 5), nn.LeakyReLU(0.2))

    def forward(self, x, label):
        vector = self.embed_proj(self.embed(label))[:, :, None, None]
        return (self.cls(self.main(x)) * vector).sum(dim=1, keepdim=True) / 5**0.5


@pytest.mark.parametrize("separable", [False, True])
def test_a_conditional_discriminator_gives_the_same_numbers(separable):
    torch.manual_seed(0)
    theirs = AuthorsHead(separable).eval()
    ours = ScaleDiscriminator(
        4,
        first_size=32,
        width=6,
        shape=ConditionShape(num_labels=CLASSES),
        separable=separable,
        cmap_dim=5,
        label_dim=7,
    )
    load_scale_discriminator(ours, theirs.state_dict())
    x, label = torch.randn(2, 4, 32, 32), torch.tensor([2, 0])
    condition = Condition(label_N=label)
    torch.testing.assert_close(ours.eval()(x, condition), theirs(x, label), rtol=1e-4, atol=1e-4)


def test_a_whole_discriminator():
    torch.manual_seed(0)
    net = ProjectedDiscriminator(
        channels=[3, 4, 5, 6],
        sides=[16, 8, 4, 2],
        shape=ConditionShape(),
        width=4,
        width_max=4,
    )
    theirs = {"feature_network.pretrained.layer0.weight": torch.zeros(1)}
    for i in range(4):
        at = f"feature_network.scratch.layer{i}"
        for part in ("weight", "bias"):
            theirs[f"{at}_ccm.{part}"] = getattr(net.projection.channel_mixing[i], part) + 1
            theirs[f"{at}_csm.out_conv.{part}"] = getattr(net.projection.scale_mixing[i].conv, part)
        head = net.heads[i]
        at = f"discriminator.mini_discs.{i}.main"
        for j, block in enumerate(head.blocks):
            for name, own in zip(SPECTRAL, ("weight", "u", "v"), strict=True):
                theirs[f"{at}.{j}.main.0.{name}"] = getattr(block.conv, own)
            theirs[f"{at}.{j}.main.0.bias"] = block.conv.bias
            for name in NORM[:-1]:
                theirs[f"{at}.{j}.main.1.{name}"] = getattr(block.norm, name)
        for name, own in zip(SPECTRAL, ("weight", "u", "v"), strict=True):
            theirs[f"{at}.{len(head.blocks)}.{name}"] = getattr(head.classify, own)
    theirs = {name: t.detach().clone() for name, t in theirs.items()}
    before = net.projection.channel_mixing[2].weight.clone()
    load_discriminator(net, theirs)
    assert torch.equal(net.projection.channel_mixing[2].weight, before + 1)
