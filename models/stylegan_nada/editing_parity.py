"""Recompute what StyleCLIP's own code computed, from a parity file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.editing.clip_view import enlarged_and_pooled
from models.editing.directions import channel_directions, prompt_direction, select_channels
from models.editing.mapper import STEP, LatentMapper, StyleMapper
from models.editing.optimise import OptimiseStep, optimise, rate_at
from models.editing.ranger import Ranger
from models.interop.names import load_translated
from models.interop.parity_file import ParityCheck, ParityFile
from models.stylegan2.rosinality_parity import build_generator, given_gradients, parameters_of
from models.stylegan_nada.mapper_names import (
    levels_rules,
    published_groups,
    single_rules,
    style_rules,
)
from models.stylegan_nada.parity import features


def global_direction(file: ParityFile) -> dict[str, Tensor]:
    """Channel directions, the texts' direction, and styles moved at every beta and alpha."""
    config, given = file.config, file.input
    names, widths = config["style_names"], config["style_dims"]
    convs = [i for i, name in enumerate(names) if "toRGB" not in name]
    ours = {
        "fs3": channel_directions(given["image_features"]),
        "dt": prompt_direction(given["text_neutral"], given["text_target"]),
    }
    for beta in config["betas"]:
        selection = select_channels(ours["fs3"], ours["dt"], beta=beta)
        ours[f"channels_beta{beta}"] = torch.tensor(float(selection.count))
        parts = dict(zip(convs, selection.move_C.split([widths[i] for i in convs]), strict=True))
        for i, width in enumerate(widths):
            move_C = parts.get(i, torch.zeros(width)) * given[f"std_{i:02d}"]
            ours[f"direction_beta{beta}_{i:02d}"] = move_C
            alpha_A1 = torch.tensor(config["alphas"])[:, None]
            ours[f"s_beta{beta}_{i:02d}"] = given[f"s_{i:02d}"][:, None] + alpha_A1 * move_C
    return {name: x.to(file.output[name].dtype) for name, x in ours.items()}


def levels_mapper(file: ParityFile) -> dict[str, Tensor]:
    """A mapper of three levels, its edit, and gradients."""
    config = file.config
    rows = config["n_latent"]
    cuts = published_groups(rows)
    groups = {name: cut for name, cut in cuts.items() if not config.get(f"no_{name}_mapper")}
    mapper = LatentMapper(config["latent_dim"], groups, "rows")
    return _latent(file, mapper, levels_rules())


def single_mapper(file: ParityFile) -> dict[str, Tensor]:
    """A mapper of one group, its edit, and gradients."""
    config = file.config
    mapper = LatentMapper(config["latent_dim"], {"all": (0, config["n_latent"])}, "rows")
    return _latent(file, mapper, single_rules())


def _latent(file: ParityFile, mapper: LatentMapper, rules: Any) -> dict[str, Tensor]:
    load_translated(mapper, file.param, rules, "the mapper")
    w = file.input["w"].clone().requires_grad_()
    ours = {"delta": mapper(w), "w_hat": mapper.edit(w, file.config["step"] / STEP)}
    names = [n.removeprefix("grad_") for n in file.output if n.startswith("grad_")]
    targets = {**parameters_of(mapper, names, rules), "w": w}
    return ours | given_gradients(file, ours, targets)


def stylespace_mapper(file: ParityFile) -> dict[str, Tensor]:
    """A mapper of styles, and gradients."""
    config = file.config
    mapper = StyleMapper({f"{i:02d}": config["style_dims"][i] for i in config["mapped"]})
    rules = style_rules(config["mapped"])
    load_translated(mapper, file.param, rules, "the mapper of styles")
    count = len(config["style_dims"])
    given = {f"{i:02d}": file.input[f"s_{i:02d}"].flatten(1).requires_grad_() for i in range(count)}
    ours = {
        f"delta_{name}": x.reshape(file.output[f"delta_{name}"].shape)
        for name, x in mapper(given).items()
    }
    names = [n.removeprefix("grad_") for n in file.output if n.startswith("grad_")]
    targets = {**parameters_of(mapper, names, rules), **{f"s_{n}": x for n, x in given.items()}}
    return ours | given_gradients(file, ours, targets)


def optimisation(file: ParityFile) -> dict[str, Tensor]:
    """The search in W+ and in S with all that was measured, and the schedule."""
    config = file.config
    net = build_generator(config, {n: x for n, x in file.param.items() if n != "image_proj"})
    net.requires_grad_(False)
    text_E = F.normalize(file.input["text"], dim=1)[0]

    def clip(image_NCHW: Tensor) -> Tensor:
        seen = enlarged_and_pooled(image_NCHW)
        x_NE = features(seen, file.param["image_proj"], config["pool"])
        return 1 - F.normalize(x_NE, dim=1) @ text_E

    latent = file.input["latent"]
    shared: dict[str, Any] = {
        "clip": clip,
        "distance_weight": config["l2_lambda"],
        "learning_rate": config["lr"],
    }
    record: list[OptimiseStep] = []
    found = optimise(
        {"ws": latent},
        moves={"ws"},
        draw=lambda parts: net.synthesize(parts["ws"]),
        steps=config["steps"],
        report=record.append,
        **shared,
    )
    ours = {"latent_final": found["ws"]}
    for name, attribute in (
        ("lr", "learning_rate"),
        ("clip_loss", "clip"),
        ("l2", "distance"),
        ("loss", "loss"),
    ):
        ours[name] = torch.tensor([getattr(step, attribute) for step in record])
    record.clear()
    layers = net.style_layers()
    styles = optimise(
        net.styles(latent),
        moves={x.name for x in layers if x.kind == "conv"},
        draw=net.synthesize_from_styles,
        steps=config["steps_stylespace"],
        report=record.append,
        **shared,
    )
    ours |= {f"s_final_{i:02d}": x for i, x in enumerate(styles.values())}
    ours["s_loss"] = torch.tensor([step.loss for step in record])
    scale = config["schedule_scale"]
    ours["schedule_300_0.1"] = torch.tensor([rate_at(i, 300, 0.1) * scale for i in range(300)])
    return ours


def ranger(file: ParityFile) -> dict[str, Tensor]:
    """The value of three parameters after every step."""
    config, kinds = file.config, ("vector", "matrix", "conv")
    parameters = [torch.nn.Parameter(file.input[name].clone()) for name in kinds]
    optimizer = Ranger(parameters, lr=config["lr"], betas=tuple(config["betas"]), eps=config["eps"])
    seen: dict[str, list[Tensor]] = {name: [] for name in kinds}
    for step in range(config["steps"]):
        for name, parameter in zip(kinds, parameters, strict=True):
            parameter.grad = file.input[f"{name}_grad"][step].clone()
        optimizer.step()
        for name, parameter in zip(kinds, parameters, strict=True):
            seen[name].append(parameter.detach().clone())
    return {f"{name}_after": torch.stack(values) for name, values in seen.items()}


CHECKS = {
    "styleclip_global_direction": ParityCheck(global_direction),
    "styleclip_mapper_levels": ParityCheck(levels_mapper),
    "styleclip_mapper_single": ParityCheck(single_mapper),
    "styleclip_mapper_stylespace": ParityCheck(stylespace_mapper),
    "styleclip_optimisation": ParityCheck(optimisation),
    "styleclip_ranger": ParityCheck(ranger),
}
