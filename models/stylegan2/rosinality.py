"""Read StyleGAN2 in rosinality's layout, which StyleGAN-NADA and StyleCLIP build on.

Its tensors are those of the published network under other names: nothing is flipped or scaled.
Beside the network (`g_ema`) a converted file holds the mean of w (`latent_avg`).

Legend: N samples, D width of w.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from models.interfaces import ConditionShape
from models.interop.foreign_network import ForeignNetwork
from models.interop.import_request import (
    Asked,
    Importer,
    Sizes,
    block_widths,
    no_discriminator,
)
from models.interop.names import Rule, translate
from models.stylegan2.generator import StyleGAN2Generator

RECIPE = "projected_gan"  # the family whose generator this one may be
MEAN = "latent_avg"
MEAN_SAMPLES, MEAN_SEED = 4096, 0
LEARNING_RATE = 0.002  # as published with this network

_LAYER = (
    (r"conv\.weight", "weight"),
    (r"conv\.modulation\.(weight|bias)", r"style.{0}"),
    (r"noise\.weight", "noise_strength"),
    (r"activate\.bias", "bias"),
)
_TO_RGB = (
    (r"conv\.weight", "weight"),
    (r"conv\.modulation\.(weight|bias)", r"style.{0}"),
    (r"bias", "bias"),
)


def rules(resolution: int) -> tuple[Rule, ...]:
    """Return the renames of a network of this resolution, in pixels."""
    found = [
        Rule(r".*\.kernel", None),  # [1, 3, 3, 1] in every file; ours is a constant of the code
        Rule(MEAN, "mapping.mean.value"),
        Rule(r"input\.input", "synthesis.input.value"),
        *_layer(r"conv1\.", "synthesis.blocks.4.layers.0.", _LAYER),
        *_layer(r"to_rgb1\.", "synthesis.blocks.4.to_rgb.", _TO_RGB),
        Rule(r"noises\.noise_0", "synthesis.blocks.4.layers.0.noise_const"),
    ]
    found += [Rule(rf"style\.{i + 1}\.(\w+)", rf"mapping.layers.{i}.\1") for i in range(64)]
    for j in range(resolution.bit_length() - 3):
        block = f"synthesis.blocks.{8 << j}."
        for half in (0, 1):
            own = f"{block}layers.{half}."
            found += _layer(rf"convs\.{2 * j + half}\.", own, _LAYER)
            found.append(Rule(rf"noises\.noise_{2 * j + half + 1}", f"{own}noise_const"))
        found += _layer(rf"to_rgbs\.{j}\.", f"{block}to_rgb.", _TO_RGB)
    return tuple(found)


def _layer(theirs: str, ours: str, parts: Iterable[tuple[str, str]]) -> list[Rule]:
    return [Rule(theirs + name, ours + own.format(r"\1")) for name, own in parts]


def load_generator(module: StyleGAN2Generator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' generator.

    Without `latent_avg` the mean of w is that of 4096 samples, always the same ones; noise that the
    file lacks stays what the module was built with.

    Raises:
        ValueError: the tensors do not fit.
    """
    own = module.state_dict()
    renames = rules(module.resolution)
    given = {name: x for name, x in theirs.items() if not name.endswith(".kernel")}
    missing = (
        {n: x for n, x in own.items() if n.endswith("noise_const")} if not _noises(given) else {}
    )
    if MEAN not in given:
        missing["mapping.mean.value"] = own["mapping.mean.value"]
    kept = {f"ours/{name}": x for name, x in missing.items()}
    renames += tuple(Rule(re.escape(f"ours/{name}"), name) for name in missing)
    what = "StyleGAN2's generator in rosinality's layout"
    module.load_state_dict(translate({**given, **kept}, renames, module, what), strict=True)
    if MEAN not in given and module.mapping.mean.value.device.type != "meta":
        module.mapping.mean.value.copy_(mean_of_w(module))


@torch.no_grad()
def mean_of_w(module: StyleGAN2Generator) -> Tensor:
    """Return the mean [D] of w over 4096 samples of z, always the same ones."""
    rng = torch.Generator().manual_seed(MEAN_SEED)
    z_NZ = torch.randn(MEAN_SAMPLES, module.z_dim, generator=rng)
    training = module.mapping.training
    module.mapping.eval()
    w_ND: Tensor = module.mapping(z_NZ)
    module.mapping.train(training)
    return w_ND.mean(dim=0)


def _noises(names: Iterable[str]) -> bool:
    return any(name.startswith("noises.") for name in names)


def sizes(network: ForeignNetwork, asked: Asked) -> Sizes:
    """Return what the shapes say; errors as `ForeignNetwork.shape` and `block_widths`."""
    del asked  # the file tells all; what was asked for is compared afterwards
    numbers = {int(m[1]) for n in network.tensors if (m := re.match(r"to_rgbs\.(\d+)\.", n))}
    if numbers != set(range(len(numbers))):
        raise ValueError(f"it has the resolutions' images {sorted(numbers)}, some are missing")
    resolution = 4 << len(numbers)
    widths = {4: network.shape("to_rgb1.conv.weight")[2]}
    widths |= {8 << j: network.shape(f"to_rgbs.{j}.conv.weight")[2] for j in numbers}
    w_dim, z_dim = network.shape("style.1.weight")
    fields: dict[str, Any] = {
        "generator_network": "stylegan2",
        **block_widths(widths),
        "z_dim": z_dim,
        "w_dim": w_dim,
        "num_mapping_layers": sum(
            bool(re.fullmatch(r"style\.\d+\.weight", n)) for n in network.tensors
        ),
        "mean_beta": 0.995,
        "activation_clamp": 0.0,
        "separable": True,
        "generator_learning_rate": LEARNING_RATE,
        "discriminator_learning_rate": LEARNING_RATE,
    }
    assumed = []
    if MEAN not in network.tensors:
        assumed.append(f"the mean of w ({MEAN}) is that of {MEAN_SAMPLES} samples")
    if not _noises(network.tensors):
        assumed.append("the stored noise is drawn anew")
    return Sizes(
        recipe=RECIPE,
        fields=fields,
        resolution=resolution,
        shape=ConditionShape(),
        assumed=assumed,
    )


IMPORTER = Importer(
    title="StyleGAN2 in rosinality's layout",
    matches=lambda names: {"input.input", "to_rgb1.conv.weight"} <= set(names),
    sizes=sizes,
    load=load_generator,
    discriminator=no_discriminator("StyleGAN2's own, which no recipe here trains with"),
)
