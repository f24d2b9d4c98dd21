"""Recompute what Projected GAN's own code computed, from a parity file's weights and inputs.

Each function takes a `ParityFile` and returns our outputs under the file's `out/` names. All sizes
come from the file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.interfaces import Condition, ConditionShape
from models.interop.parity_file import ParityCheck, ParityFile
from models.projected_gan.discriminator import ScaleDiscriminator
from models.projected_gan.fastgan import FastGANGenerator
from models.projected_gan.feature_projection import ScaleMixing
from models.projected_gan.names import (
    load_scale_discriminator,
    load_scale_mixing,
    load_synthesis,
)


def fastgan(file: ParityFile) -> dict[str, Tensor]:
    """Whole generator: images by name, the normalisation of z included."""
    config = file.config
    net = FastGANGenerator(
        resolution=config["img_resolution"],
        shape=_shape(file),
        z_dim=config["z_dim"],
        base_channels=config["ngf"],
        lite=config["lite"],
    )
    load_synthesis(net, file.param)
    net.eval()
    z = file.input["z"].clone().requires_grad_()
    ws = net.map(z.flatten(1), _condition(file))
    image = net.synthesize(ws, noise="none")
    image.square().mean().backward()
    return _asked(file, {"img": image, "grad_z": z.grad})


def scale_mixing(file: ParityFile) -> dict[str, Tensor]:
    """Cross-scale mixing: the lowest block, and the next one on its result and the larger map."""
    config = file.config
    blocks = {}
    for name in ("lowest", "upper"):
        inputs = config[f"in_channels_{name}"]
        kernel = file.param[f"{name}.out_conv.weight"].shape[-1]
        outputs = inputs // 2 if config["expand"] else inputs
        blocks[name] = ScaleMixing(inputs, outputs, kernel, torch.Generator())
        own = {k.removeprefix(f"{name}."): t for k, t in file.param.items() if k.startswith(name)}
        load_scale_mixing(blocks[name], own)
    deep = file.input["deep"].clone().requires_grad_()
    shallow = file.input["shallow"].clone().requires_grad_()
    lowest = blocks["lowest"](deep)
    upper = blocks["upper"](lowest, shallow)
    upper.square().mean().backward()
    outputs_by_name = {"lowest": lowest, "upper": upper}
    gradients = {"grad_deep": deep.grad, "grad_shallow": shallow.grad}
    return _asked(file, {**outputs_by_name, **gradients})


def scale_discriminator(file: ParityFile) -> dict[str, Tensor]:
    """One per-scale discriminator with its stored statistics and singular vectors."""
    config = file.config
    net = ScaleDiscriminator(
        config["nc"],
        first_size=config["start_sz"],
        last_size=config["end_sz"],
        width=config.get("ndf"),
        shape=_shape(file),
        separable=any(".depthwise." in name for name in file.param),
        cmap_dim=file.param["embed_proj.0.weight"].shape[0] if _is_conditional(file) else 1,
        label_dim=file.param["embed.weight"].shape[1] if _is_conditional(file) else 1,
    )
    load_scale_discriminator(net, file.param)
    net.eval()
    x = file.input["x"].clone().requires_grad_()
    logits = net(x, _condition(file))
    logits.square().mean().backward()
    return _asked(file, {"logits": logits, "grad_x": x.grad})


def _is_conditional(file: ParityFile) -> bool:
    return "embed.weight" in file.param


def _shape(file: ParityFile) -> ConditionShape:
    """Return the number of classes that the file's embedding holds."""
    rows = file.param["embed.weight"].shape[0] if _is_conditional(file) else 0
    return ConditionShape(num_labels=rows)


def _condition(file: ParityFile) -> Condition:
    """Return the classes of the file's input, given as indices or one-hot."""
    given = next((file.input[name] for name in ("label", "c") if name in file.input), None)
    if given is None:
        return Condition()
    return Condition(label_N=given.argmax(dim=1) if given.ndim > 1 else given.long())


def _asked(file: ParityFile, ours: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """Return the outputs that the file holds, of those we know."""
    return {name: t for name, t in ours.items() if name in file.output and t is not None}


CHECKS = {
    "projected_gan_csm": ParityCheck(scale_mixing),
    "projected_gan_single_disc": ParityCheck(scale_discriminator),
    "fastgan_synthesis": ParityCheck(fastgan),
}
