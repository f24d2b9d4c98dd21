"""Read snapshots of Projected GAN and StyleGAN2-ADA: sizes, and the projected discriminator.

Projected GAN's snapshots hold FastGAN, or StyleGAN2 behind the same discriminator.
"""

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
    Part,
    Sizes,
    block_widths,
    check_published,
    first_number,
    mean_beta,
)
from models.interop.wrappers import Undecided
from models.projected_gan.discriminator import ProjectedDiscriminator
from models.projected_gan.fastgan import WIDTHS, FastGANGenerator
from models.projected_gan.names import ALWAYS_BUILT, load_discriminator, load_synthesis
from models.stylegan2 import names as stylegan2
from models.stylegan2.generator import StyleGAN2Generator

RECIPE = "projected_gan"
FEATURE_PX = 224
TABLE = "synthesis.embed.weight"


# --- FastGAN.


def is_fastgan(names: Iterable[str]) -> bool:
    """Say whether these are FastGAN's tensors, as a generator's or as its synthesis network's."""
    return not {"synthesis.init.init.0.weight_orig", "init.init.0.weight_orig"}.isdisjoint(names)


def fastgan_sizes(network: ForeignNetwork, asked: Asked) -> Sizes:
    """Return what the shapes say; the resolution is a fact, or has to be asked for."""
    network = _below_synthesis(network)
    z_dim = network.shape("synthesis.init.init.0.weight_orig")[0]
    base_channels = network.shape("synthesis.init.init.1.weight")[0] // (2 * WIDTHS[4])
    _check_rgb(network.shape("synthesis.to_big.weight_orig")[0])
    second = ("synthesis.feat_8.5.weight_orig", "synthesis.feat_8.conv2.weight_orig")
    lite = not any(name in network.tensors for name in second)
    return Sizes(
        recipe=RECIPE,
        fields={
            "generator_network": "fastgan_lite" if lite else "fastgan",
            "z_dim": z_dim,
            "base_channels": int(base_channels),
        },
        resolution=_fastgan_resolution(network, asked, int(base_channels)),
        shape=ConditionShape(num_labels=_num_labels(network, asked)),
    )


def load_fastgan(module: FastGANGenerator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' FastGAN; of its table of 1000 classes, those that there are."""
    below = {name.removeprefix("synthesis."): x for name, x in theirs.items()}
    table = below.get("embed.weight")
    if table is not None and module.condition.table is not None:
        below["embed.weight"] = table[: len(module.condition.table)]
    load_synthesis(module, below)


def _below_synthesis(network: ForeignNetwork) -> ForeignNetwork:
    """Return the network under a generator's names, if it is given as the synthesis alone."""
    if any(name.startswith("synthesis.") for name in network.tensors):
        return network
    return ForeignNetwork({f"synthesis.{n}": x for n, x in network.tensors.items()}, network.facts)


def _fastgan_resolution(network: ForeignNetwork, asked: Asked, base_channels: int) -> int:
    """Return the resolution; blocks up to 256 px are always there, so they do not tell it."""
    known = first_number(
        asked.resolution or None,
        network.fact("img_resolution", "synthesis.img_resolution"),
        otherwise=0,
    )
    if known:
        return int(known)
    built = [int(m[1]) for n in network.tensors if (m := re.search(r"\.feat_(\d+)\.", n))]
    if max(built) != ALWAYS_BUILT:
        return max(built)
    width = network.shape("synthesis.to_big.weight_orig")[1]
    fitting = [r for r in WIDTHS if r in built and int(WIDTHS[r] * base_channels) == width]
    if len(fitting) == 1:
        return fitting[0]
    choices = " or ".join(map(str, fitting)) or "none that fits"
    raise Undecided(f"the images' resolution is not in the file ({choices}): give --resolution")


def _num_labels(network: ForeignNetwork, asked: Asked) -> int:
    """Return the number of classes; the authors' table has 1000 rows whatever the data had."""
    if TABLE not in network.tensors:
        return 0
    rows = network.shape(TABLE)[0]
    told = (asked.num_labels or None, network.fact("c_dim") or None)
    known = int(first_number(*told, otherwise=rows))
    if not 1 <= known <= rows:
        raise ValueError(f"{known} classes, but its table has {rows} rows")
    return known


# --- StyleGAN2.


def stylegan2_sizes(network: ForeignNetwork, asked: Asked) -> Sizes:
    """Return what the shapes say, and the clamp, which only a snapshot tells."""
    tensors = network.tensors
    resolutions = {int(m[1]) for n in tensors if (m := re.match(r"synthesis\.b(\d+)\.", n))}
    if "synthesis.b4.torgb.weight" not in tensors:
        raise ValueError("a StyleGAN2 generator of the architecture orig or resnet: ours is skip")
    widths = {r: network.shape(f"synthesis.b{r}.torgb.weight")[1] for r in resolutions}
    _check_rgb(network.shape("synthesis.b4.torgb.weight")[0])
    first = network.shape("mapping.fc0.weight")
    embedded = "mapping.embed.weight" in tensors
    embedding = network.shape("mapping.embed.weight") if embedded else (0, 0)
    layers = {n for n in tensors if re.fullmatch(r"mapping\.fc\d+\.weight", n)}
    fields = {
        "generator_network": "stylegan2",
        **block_widths(widths),
        "z_dim": first[1] - embedding[0],
        "w_dim": network.shape("synthesis.b4.conv1.affine.weight")[1],
        "num_mapping_layers": len(layers),
        # As published with this generator; a discriminator in the file decides for itself.
        "separable": True,
        "generator_learning_rate": 0.002,
        "discriminator_learning_rate": 0.002,
    }
    check_published(
        network, {"mapping.fc0.bias_gain": 0.01, "synthesis.b4.conv1.activation": "lrelu"}
    )
    assumed = []
    fields |= mean_beta(network)
    if "synthesis.b4.conv1.conv_clamp" in network.facts:
        clamp = network.facts["synthesis.b4.conv1.conv_clamp"]
        fields["activation_clamp"] = float(first_number(clamp, otherwise=0.0))
    else:
        assumed.append("activations clamped at 256")
    return Sizes(
        recipe=RECIPE,
        fields=fields,
        resolution=max(resolutions),
        shape=ConditionShape(num_labels=embedding[1]),
        assumed=assumed,
    )


def load_stylegan2(module: StyleGAN2Generator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' StyleGAN2 generator."""
    stylegan2.load_generator(module, theirs)


def _check_rgb(channels: int) -> None:
    if channels != 3:
        raise ValueError(f"images of {channels} channels: ours have 3")


# --- The projected discriminator.


def projected_discriminator(network: ForeignNetwork, sizes: Sizes) -> Part:
    """Return the projection and its discriminators; the feature network itself is dropped."""
    heads = "discriminator.mini_discs"
    if not any(name.startswith(f"{heads}.3.") for name in network.tensors):
        raise ValueError("it is no projected discriminator on four scales")
    fields, channels = _projection(network)
    if sizes.shape.num_labels:
        fields["label_dim"] = network.shape(f"{heads}.0.embed.weight")[1]
        fields["cmap_dim"] = network.shape(f"{heads}.0.cls.weight_orig")[0]
    size_px = max(sizes.resolution, FEATURE_PX)
    names = {"label_dim": "label_dim", "cmap_dim": "cmap_dim", "separable": "separable"}
    names |= {f"projection_{x}": x for x in ("level", "width", "expand", "kernel_size")}
    return Part(
        fields=fields,
        build=lambda: ProjectedDiscriminator(
            channels=channels,
            sides=[size_px // stride for stride in (4, 8, 16, 32)],
            shape=sizes.shape,
            **{names[name]: value for name, value in fields.items()},
        ),
        load=_load_discriminator,
    )


def _projection(network: ForeignNetwork) -> tuple[dict[str, Any], list[int]]:
    """Return the projection's fields, and the channels of the feature network's four maps."""
    scratch, tensors = "feature_network.scratch.layer", network.tensors
    fields: dict[str, Any] = {"separable": any(".depthwise." in name for name in tensors)}
    if f"{scratch}0_ccm.weight" not in tensors:
        return {**fields, "projection_level": 0}, [_channels(network, i) for i in range(4)]
    mixing = [network.shape(f"{scratch}{i}_ccm.weight") for i in range(4)]
    fields["projection_width"] = mixing[0][0]
    fields["projection_expand"] = mixing[3][0] != mixing[0][0]
    fields["projection_level"] = 1
    if f"{scratch}0_csm.out_conv.weight" in tensors:
        fields["projection_level"] = 2
        fields["projection_kernel_size"] = network.shape(f"{scratch}0_csm.out_conv.weight")[-1]
    return fields, [shape[1] for shape in mixing]


def _channels(network: ForeignNetwork, scale: int) -> int:
    """Return the channels that the discriminator of a scale reads in its first layer."""
    at = f"discriminator.mini_discs.{scale}"
    for name, axis in (
        (f"{at}.main.0.main.0.depthwise.weight_orig", 0),
        (f"{at}.main.0.main.0.weight_orig", 1),
        (f"{at}.main.0.weight_orig", 1),
        (f"{at}.cls.weight_orig", 1),
    ):
        if name in network.tensors:
            return network.shape(name)[axis]
    raise ValueError(f"its scale {scale} has no first layer")


def _load_discriminator(module: ProjectedDiscriminator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' tensors; of their table of 1000 classes, those that there are."""
    own: Any = module.heads[0]
    rows = None if own.condition.table is None else len(own.condition.table)
    cut = {n: x[:rows] if n.endswith(".embed.weight") else x for n, x in theirs.items()}
    load_discriminator(module, cut)


FASTGAN = Importer(
    title="FastGAN",
    matches=is_fastgan,
    sizes=fastgan_sizes,
    load=load_fastgan,
    discriminator=projected_discriminator,
)
STYLEGAN2 = Importer(
    title="StyleGAN2",
    matches=lambda names: "synthesis.b4.const" in names,
    sizes=stylegan2_sizes,
    load=load_stylegan2,
    discriminator=projected_discriminator,
)
