"""Read snapshots of StyleGAN3 and StyleGAN-XL: sizes, and the growth that layer names tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from models.interfaces import ConditionShape
from models.interop.foreign_network import ForeignNetwork
from models.interop.import_request import (
    Asked,
    Importer,
    Sizes,
    check_published,
    first_number,
    mean_beta,
    no_discriminator,
)
from models.interop.stored_tensors import StoredTensor
from models.stylegan_xl.alias_free_plan import BandRules
from models.stylegan_xl.generator import StyleGANXLGenerator
from models.stylegan_xl.growth_chain import Growth, find_growth
from models.stylegan_xl.names import load_stylegan3, load_stylegan_xl

RECIPE = "stylegan_xl"
_LAYER = re.compile(r"synthesis\.(L(\d+)_(\d+)_(\d+))\.weight")
_OF_THE_PLAN = ("channel_base", "channel_max", "num_critical", "margin_px")


def is_xl(names: Iterable[str]) -> bool:
    """Say whether the mapping network is StyleGAN-XL's: its table of classes has no bias."""
    known = {*names}
    if "synthesis.input.freqs" not in known:
        return False
    table = "mapping.embed.weight" in known and "mapping.embed.bias" not in known
    return table or "mapping.embed_proj.weight" in known


def stylegan3_sizes(network: ForeignNetwork, asked: Asked) -> Sizes:
    """Return what shapes and layer names say."""
    names = _layer_names(network)
    embedded = "mapping.embed.weight" in network.tensors
    embedding = network.shape("mapping.embed.weight") if embedded else (0, 0)
    resolution = _size(names[-1])
    fields = {
        **_common(network, names),
        "generator_network": "stylegan3",
        "z_dim": network.shape("mapping.fc0.weight")[1] - embedding[0],
        "stem_px": resolution,
        "stem_layers": len(names) - 1,
    }
    return Sizes(
        recipe=RECIPE,
        fields=fields,
        resolution=resolution,
        shape=ConditionShape(num_labels=embedding[1]),
    )


def stylegan_xl_sizes(network: ForeignNetwork, asked: Asked) -> Sizes:
    """Return what shapes and layer names say; the classes are those that have a running mean."""
    names = _layer_names(network)
    common = _common(network, names)
    first, means = network.shape("mapping.fc0.weight")[1], network.shape("mapping.w_avg")
    conditional = "mapping.embed_proj.weight" in network.tensors
    growth = _growth(network, common, names)
    fields = {
        **common,
        "generator_network": "stylegan_xl",
        "z_dim": first - (network.shape("mapping.embed_proj.weight")[0] if conditional else 0),
        "stem_px": growth.stem_px,
        "stem_layers": growth.stem_layers,
        "heads": growth.heads,
        # The table comes with the weights: no features of anybody's classes are needed.
        "class_embedding": "random",
    }
    if conditional:
        fields["embed_dim"] = network.shape("mapping.embed.weight")[1]
    return Sizes(
        recipe=RECIPE,
        fields=fields,
        resolution=_size(names[-1]),
        shape=ConditionShape(num_labels=means[0] if conditional and len(means) == 2 else 0),
    )


def load_xl(module: StyleGANXLGenerator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' StyleGAN-XL; of its table of 1000 classes, those that there are."""
    theirs = dict(theirs)
    if module.embedding is not None and "mapping.embed.weight" in theirs:
        theirs["mapping.embed.weight"] = theirs["mapping.embed.weight"][: len(module.embedding)]
    load_stylegan_xl(module, theirs)


def _layer_names(network: ForeignNetwork) -> list[str]:
    """Return the layers' names in order: L0_36_512, L1_36_512, ..."""
    found = [m for name in network.tensors if (m := _LAYER.fullmatch(name))]
    if len(found) < 4:
        raise ValueError(f"an alias-free network of {len(found)} layers")
    return [m[1] for m in sorted(found, key=lambda m: int(m[2]))]


def _size(name: str) -> int:
    """Return the side of a layer's output in pixels."""
    return int(name.split("_")[1])


def _common(network: ForeignNetwork, names: list[str]) -> dict[str, Any]:
    """Return the fields that follow from shapes alone; a snapshot's facts go first."""
    layer = f"synthesis.{names[0]}"
    published = {"mapping.fc0.bias_gain": 0.01, "synthesis.output_scale": 0.25}
    check_published(network, {**published, f"{layer}.conv_clamp": 256})
    widths = [int(name.split("_")[2]) for name in names]
    if widths[-1] != 3:
        raise ValueError(f"images of {widths[-1]} channels: ours have 3")
    # The last convolution passes all of the image's frequencies, half its side.
    base = first_number(
        network.fact("synthesis.channel_base", "init.channel_base"),
        otherwise=widths[-2] * _size(names[-1]),
    )
    tensors = network.tensors
    radial = [n for n, x in tensors.items() if n.endswith("down_filter") and len(x.shape) == 2]
    mapping = [n for n in tensors if re.fullmatch(r"mapping\.fc\d+\.weight", n)]
    return mean_beta(network) | {
        "channel_base": int(base),
        "channel_max": max(widths[:-1]),
        "kernel_size": network.shape(f"{layer}.weight")[-1],
        "radial": bool(radial),
        "num_critical": int(first_number(network.fact("synthesis.num_critical"), otherwise=2)),
        "margin_px": int(first_number(network.fact("synthesis.margin_size"), otherwise=10)),
        "w_dim": network.shape(f"{layer}.affine.weight")[1],
        "mapping_layers": len(mapping),
    }


def _growth(network: ForeignNetwork, common: Mapping[str, Any], names: list[str]) -> Growth:
    """Return stem and heads; ValueError where no growth of ours has these layers."""
    rules = BandRules(**{name: common[name] for name in _OF_THE_PLAN})
    stored = {name: network.tensors.get(f"synthesis.{name}.up_filter") for name in names}
    found = {name: x for name, x in stored.items() if x is not None}
    filters = {n: x.read() if isinstance(x, StoredTensor) else x for n, x in found.items()}
    return find_growth(rules, names, filters)


STYLEGAN_XL = Importer(
    title="StyleGAN-XL",
    matches=is_xl,
    sizes=stylegan_xl_sizes,
    load=load_xl,
    discriminator=no_discriminator("ganline has none with these tensors"),
)
STYLEGAN3 = Importer(
    title="StyleGAN3",
    matches=lambda names: "synthesis.input.freqs" in names,
    sizes=stylegan3_sizes,
    load=load_stylegan3,
    discriminator=no_discriminator("ganline has none with these tensors"),
)
