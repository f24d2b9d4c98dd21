"""Recompute what StyleGAN3's and StyleGAN-XL's own code computed, from a parity file.

Options that a file does not name have the published constructors' defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.interop.names import rename
from models.interop.parity_file import ParityCheck, ParityFile
from models.layers.style_mapping import truncate
from models.stylegan_xl.alias_free import AliasFreeSynthesis
from models.stylegan_xl.alias_free_plan import BandRules, LayerPlan, num_kept
from models.stylegan_xl.generator import ClassMapping, growth_plans
from models.stylegan_xl.names import (
    load_class_mapping,
    load_synthesis,
    published_names,
    synthesis_rules,
)


def class_mapping(file: ParityFile) -> dict[str, Tensor]:
    """StyleGAN-XL's mapping network, truncations, and the running mean after one update."""
    config = file.config
    net = ClassMapping(
        config["z_dim"],
        config["w_dim"],
        num_layers=config["num_layers"],
        num_classes=config["c_dim"],
        embed_dim=config["embed_dim"],
        lr_multiplier=config["lr_multiplier"],
        mean_beta=config["w_avg_beta"],
    )
    load_class_mapping(net, file.param)
    z, label = file.input["z"], file.input.get("label")
    # With classes the authors update sample after sample, without them once per batch.
    parts = torch.arange(len(z)).split(1 if config["c_dim"] else len(z))
    net.eval()
    w = net(z, None, label)
    if torch.equal(file.param["w_avg"], file.output["w_avg_after_update"]):
        _undo_updates(net, w, label, parts)
    ours: dict[str, Tensor] = {}
    for name in (n for n in file.output if n.startswith("w_psi")):
        drawn = truncate(w, net.mean.centre(label), float(name.removeprefix("w_psi")))
        ours[name] = drawn[:, None, :].expand(-1, config["num_ws"], -1)
    net.train()
    for part in parts:
        net(z[part], None, None if label is None else label[part])
        net.mean.commit(lambda total: total)
    ours["w_avg_after_update"] = net.mean.value
    return ours


@torch.no_grad()
def _undo_updates(
    net: ClassMapping, w_ND: Tensor, label_N: Tensor | None, parts: Sequence[Tensor]
) -> None:
    """Take the running mean back to where it was before the file's update.

    The authors' code updates the buffer in place, and the files were written after that: `param/`
    holds the mean after the update, although the truncated outputs were computed before. Only the
    right update rule leads back to the mean that those show.
    """
    beta, value = net.mean.beta, net.mean.value
    for part in reversed(parts):
        row = value if label_N is None else value[int(label_N[part])]
        row.copy_((row - (1 - beta) * w_ND[part].mean(dim=0)) / beta)


def synthesis(file: ParityFile) -> dict[str, Tensor]:
    """StyleGAN3's synthesis network, or StyleGAN-XL's grown one: image, and gradients."""
    plans, config = _plans(file), file.config
    names = published_names(plans)
    if config.get("layer_names", names) != names:
        raise ValueError(f"layers {config['layer_names']}, ours are {names}")
    net = AliasFreeSynthesis(
        config["w_dim"],
        plans[-1],
        kernel=config["conv_kernel"],
        radial=config["use_radial_filters"],
        filter_size=config.get("filter_size", 6),
        oversampling=config.get("lrelu_upsampling", 2),
        clamp=config.get("conv_clamp", 256),
        output_scale=config.get("output_scale", 0.25),
    )
    load_synthesis(net, file.param, plans)
    ws = file.input["ws"].clone().requires_grad_()
    image = net(ws)
    image.square().mean().backward()
    ours = {"img": image}
    for name in (n for n in file.output if n.startswith("grad_")):
        target = name.removeprefix("grad_")
        own = ws if target == "ws" else net.get_parameter(_own_name(target, plans))
        assert own.grad is not None
        ours[name] = own.grad.view_as(file.output[name])
    return ours


def layer_table(file: ParityFile) -> dict[str, Tensor]:
    """The signals after each layer, of a grown network those of its head alone."""
    plans = _plans(file)
    shown = plans[-1][num_kept(plans[-2]) if len(plans) > 1 else 0 :]
    signals = [layer.after for layer in shown]
    columns: dict[str, list[Any]] = {
        "channels": [x.channels for x in signals],
        "cutoffs": [x.cutoff for x in signals],
        "half_widths": [x.half_width for x in signals],
        "sampling_rates": [x.rate for x in signals],
        "sizes": [x.size for x in signals],
        "stopbands": [x.stopband for x in signals],
    }
    return {name: torch.tensor(row, dtype=torch.float64) for name, row in columns.items()}


def _own_name(theirs: str, plans: list[list[LayerPlan]]) -> str:
    return rename(theirs, synthesis_rules(plans)) or theirs


def _plans(file: ParityFile) -> list[list[LayerPlan]]:
    """Return the plan of the stem and, for a super-resolution file, that of the grown network."""
    config = file.config
    rules = BandRules(
        channel_base=config["channel_base"],
        channel_max=config["channel_max"],
        num_critical=config["num_critical"],
        first_cutoff=config.get("first_cutoff", 2),
        first_stopband=config.get("first_stopband", 2**2.1),
        last_stopband_ratio=config.get("last_stopband_rel", 2**0.3),
        margin_px=config.get("margin_size", 10),
        image_channels=config["img_channels"],
    )
    stem = config.get("stem_resolution", config["img_resolution"])
    heads = []
    if "head_layers" in config:
        heads = [(stem * config["up_factor"], config["head_layers"])]
    return growth_plans(rules, stem, config["num_layers"], heads)


CHECKS = {
    "stylegan3_synthesis": ParityCheck(synthesis, layer_table),
    "stylegan_xl_superres_synthesis": ParityCheck(synthesis, layer_table),
    "stylegan_xl_mapping": ParityCheck(class_mapping),
}
