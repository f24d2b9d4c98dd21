"""Recompute what rosinality's StyleGAN2 computed, from a parity file's weights and inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.interfaces import Condition, ConditionShape
from models.interop.names import Rule, load_translated, rename
from models.interop.parity_file import ParityCheck, ParityFile
from models.stylegan2 import rosinality
from models.stylegan2.discriminator import StyleGAN2Discriminator
from models.stylegan2.generator import StyleGAN2Generator

NOTHING = Condition()


def build_generator(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> StyleGAN2Generator:
    """Return the generator of a file's sizes with the authors' tensors in it."""
    net = StyleGAN2Generator(
        resolution=config["size"],
        shape=ConditionShape(),
        z_dim=config["style_dim"],
        w_dim=config["style_dim"],
        num_mapping_layers=config["n_mlp"],
        channel_base=config["channel_base"],
        channel_max=config["channel_max"],
    )
    rosinality.load_generator(net, tensors)
    return net.eval()


def given_gradients(
    file: ParityFile, ours: dict[str, Tensor], targets: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return grad_<name> of the sum of <output, cotangent> for every gradient in the file.

    Args:
        file: its cotangents say which outputs count.
        ours: our outputs, with their graph.
        targets: <name> -> what the gradient is taken with respect to.
    """
    pairs = [(n.removeprefix("cotangent_"), x) for n, x in file.input.items() if "cotangent_" in n]
    total = torch.stack([(ours[name] * weight).sum() for name, weight in pairs]).sum()
    names = [n.removeprefix("grad_") for n in file.output if n.startswith("grad_")]
    found = torch.autograd.grad(total, [targets[name] for name in names])
    shaped = zip(names, found, strict=True)
    return {f"grad_{n}": x.reshape(file.output[f"grad_{n}"].shape) for n, x in shaped}


def parameters_of(module: nn.Module, names: list[str], rules: tuple[Rule, ...]) -> dict[str, Any]:
    """Return the authors' name -> our parameter, of those names that are parameters."""
    found = {}
    for name in names:
        try:
            own = rename(name, rules)
        except KeyError:
            continue
        if own is not None:
            found[name] = module.get_parameter(own)
    return found


def generator(file: ParityFile) -> dict[str, Tensor]:
    """Mapping, truncation, images of codes and of styles, mixing, and gradients."""
    config = file.config
    net = build_generator(config, {**file.param, rosinality.MEAN: file.input["latent_avg"]})
    z = file.input["z"].clone().requires_grad_()
    ours: dict[str, Tensor] = {"w": net.mapping(z)}
    w_plus = file.input["w_plus"].clone().requires_grad_()
    ours["img"] = net.synthesize(w_plus)
    psi = config["psi"]
    ours[f"w_plus_psi{psi}"] = net.map(z, NOTHING, psi)
    ours[f"img_psi{psi}"] = net.synthesize(ours[f"w_plus_psi{psi}"])
    styles = net.styles(w_plus)
    ours |= {f"s_{i:02d}": x for i, x in enumerate(styles.values())}
    edited = {name: file.input[f"s_edited_{i:02d}"].flatten(1) for i, name in enumerate(styles)}
    ours["img_from_s"] = net.synthesize_from_styles(edited)
    ws = net.map(z, NOTHING)
    mixed = ws.clone()
    mixed[:, config["mix_inject_index"] :] = ws.flip(0)[:, config["mix_inject_index"] :]
    ours["img_mixed"] = net.synthesize(mixed)
    return ours | _gradients(file, ours, net, z, w_plus)


def _gradients(
    file: ParityFile, ours: dict[str, Tensor], net: StyleGAN2Generator, z: Tensor, w_plus: Tensor
) -> dict[str, Tensor]:
    names = [n.removeprefix("grad_") for n in file.output if n.startswith("grad_")]
    targets = parameters_of(net, names, rosinality.rules(net.resolution))
    return given_gradients(file, ours, {**targets, "z": z, "w_plus": w_plus})


def discriminator(file: ParityFile) -> dict[str, Tensor]:
    """Logits and gradients of the residual discriminator."""
    config = file.config
    widths = {int(size): width for size, width in config["channels"].items()}
    net = StyleGAN2Discriminator(widths, group=config["stddev_group"], maps=config["stddev_feat"])
    rules = discriminator_rules(int(math.log2(config["size"])) - 2)
    load_translated(net, file.param, rules, "StyleGAN2's discriminator")
    image = file.input["img"].clone().requires_grad_()
    ours = {"logits": net(image)}
    names = [n.removeprefix("grad_") for n in file.output if n.startswith("grad_")]
    targets = {**parameters_of(net, names, rules), "img": image}
    return ours | given_gradients(file, ours, targets)


def discriminator_rules(num_blocks: int) -> tuple[Rule, ...]:
    """Return the renames of a discriminator with so many residual blocks."""
    found = [
        Rule(r".*\.kernel", None),
        Rule(r"convs\.0\.0\.weight", "from_rgb.weight"),
        Rule(r"convs\.0\.1\.bias", "from_rgb.bias"),
        Rule(r"final_conv\.0\.weight", "last.weight"),
        Rule(r"final_conv\.1\.bias", "last.bias"),
        Rule(r"final_linear\.0\.(\w+)", r"hidden.\1"),
        Rule(r"final_linear\.1\.(\w+)", r"out.\1"),
    ]
    for i in range(num_blocks):
        at, own = rf"convs\.{i + 1}\.", f"blocks.{i}."
        found += [
            Rule(rf"{at}conv1\.0\.weight", f"{own}first.weight"),
            Rule(rf"{at}conv1\.1\.bias", f"{own}first.bias"),
            Rule(rf"{at}conv2\.1\.weight", f"{own}second.weight"),
            Rule(rf"{at}conv2\.2\.bias", f"{own}second.bias"),
            Rule(rf"{at}skip\.1\.weight", f"{own}skip.weight"),
        ]
    return tuple(found)


CHECKS = {
    "rosinality_generator": ParityCheck(generator),
    "rosinality_discriminator": ParityCheck(discriminator),
}
