"""The authors' names of StyleGAN2, StyleGAN3 and StyleGAN-XL networks, whole and grown."""

import pytest
import torch

from models.interfaces import ConditionShape
from models.interop.parity_file import read_parity_file
from models.stylegan_xl.alias_free_plan import BandRules
from models.stylegan_xl.generator import StyleGANXLGenerator, growth_plans
from models.stylegan_xl.names import (
    load_stylegan3,
    load_stylegan_xl,
    load_synthesis,
    published_names,
)
from models.stylegan_xl.stylegan3 import StyleGAN3Generator


def numbers(heads):
    plans = growth_plans(BandRules(channel_base=65536, channel_max=1024), 16, 10, heads)
    return [int(name.split("_")[0][1:]) for name in published_names(plans)]


def test_numbers_after_each_growth():
    assert numbers(()) == list(range(11))
    assert numbers(((32, 7),)) == [*range(8), *range(9, 17)]  # L8 is left out
    assert numbers(((32, 7), (64, 7))) == [*range(8), *range(9, 22)]
    assert len(numbers(((32, 7), (64, 7), (128, 7)))) == 26


def published(net, plans, table=True):
    """Return the state dict of `net` under the authors' names, filters included."""
    names, theirs = published_names(plans), {}
    for name, tensor in net.state_dict().items():
        path = name.split(".")
        if path[:2] == ["synthesis", "layers"]:
            path[1:3] = [names[int(path[2])]]
            path = [{"style": "affine", "magnitude": "magnitude_ema"}.get(p, p) for p in path]
        elif path[:2] == ["mapping", "layers"]:
            path[1:3] = [f"fc{path[2]}"]
        name = ".".join(path).replace("mapping.mean.value", "mapping.w_avg")
        name = name.replace("frequencies", "freqs")
        if table:
            name = name.replace("mapping.embed.", "mapping.embed_proj.")
            name = name.replace("mapping.embedding", "mapping.embed.weight")
        theirs[name] = torch.randn(tensor.shape)
    for name, layer in zip(names[:-1], net.synthesis.layers, strict=False):
        theirs[f"synthesis.{name}.up_filter"] = layer.activation.up_taps.clone()
        theirs[f"synthesis.{name}.down_filter"] = layer.activation.down_taps.clone()
    return theirs


SIZES = {"z_dim": 4, "w_dim": 6, "channel_base": 256, "channel_max": 6, "kernel": 1, "radial": True}


@pytest.mark.parametrize("classes", [0, 3])
def test_a_whole_grown_generator(classes):
    net = StyleGANXLGenerator(
        shape=ConditionShape(num_labels=classes),
        stem_layers=5,
        heads=((32, 4), (64, 3)),
        embed_dim=5,
        **SIZES,
    )
    theirs = published(net, net.plans)
    if not classes:
        theirs["mapping.embed.weight"] = torch.zeros(1000, 320)  # there, and never read
    load_stylegan_xl(net, theirs)
    last = published_names(net.plans)[-1]
    assert torch.equal(net.synthesis.layers[-1].weight, theirs[f"synthesis.{last}.weight"])
    assert torch.equal(net.mapping.mean.value, theirs["mapping.w_avg"])
    if classes:
        assert torch.equal(net.embedding, theirs["mapping.embed.weight"])


def test_a_whole_stylegan3_generator_and_what_does_not_fit():
    net = StyleGAN3Generator(
        resolution=16, shape=ConditionShape(num_labels=3), num_layers=4, **SIZES
    )
    plans = [net.synthesis.plan]
    theirs = published(net, plans, table=False)
    load_stylegan3(net, theirs)
    assert torch.equal(net.mapping.embed.weight, theirs["mapping.embed.weight"])
    wrong = {k: v for k, v in theirs.items() if k != "mapping.w_avg"}
    wrong["synthesis.L9_16_3.weight"] = torch.zeros(1)
    expected = r"unknown: synthesis\.L9_16_3\.weight; missing .*mapping\.mean\.value"
    with pytest.raises(ValueError, match=expected):
        load_stylegan3(net, wrong)


def test_other_filters_are_refused_by_name(parity_folder):
    file = read_parity_file(parity_folder / "stylegan3_synthesis.safetensors")
    config = file.config
    rules = BandRules(channel_base=config["channel_base"], channel_max=config["channel_max"])
    plan = rules.stem(config["img_resolution"], config["num_layers"])
    from models.stylegan_xl.alias_free import AliasFreeSynthesis

    theirs = dict(file.param)
    load_synthesis(AliasFreeSynthesis(config["w_dim"], plan), theirs, [plan])
    name = "L2_36_32.up_filter"
    theirs[name] = theirs[name] * 1.01
    with pytest.raises(ValueError, match=r"not those of its sizes.*L2_36_32\.up_filter$"):
        load_synthesis(AliasFreeSynthesis(config["w_dim"], plan), theirs, [plan])
