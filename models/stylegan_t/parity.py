"""Recompute what StyleGAN-T's own code computed, from a parity file's weights and inputs.

Each function takes a `ParityFile` and returns our outputs under the file's `out/` names. All sizes
come from the file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.interop.names import rename
from models.interop.parity_file import ParityCheck, ParityFile
from models.layers.blur import blur
from models.losses.alignment import spherical_distance_squared
from models.stylegan_t.discriminator import DiscriminatorHead
from models.stylegan_t.generator import MappingNetwork, SynthesisNetwork
from models.stylegan_t.names import SYNTHESIS_RULES, load_head, load_mapping, load_synthesis


def mapping(file: ParityFile) -> dict[str, Tensor]:
    """Mapping network, truncations, and the running mean after one training call."""
    config = file.config
    net = MappingNetwork(
        config["z_dim"],
        num_layers=config["num_layers"],
        lr_multiplier=config["lr_multiplier"],
        mean_beta=config["x_avg_beta"],
    )
    load_mapping(net, file.param)
    z = file.input["z"]

    def broadcast(x: Tensor) -> Tensor:
        return x[:, None, :].expand(-1, config["num_ws"], -1)

    net.eval()
    ours = {
        name: broadcast(net(z, float(name.removeprefix("w_psi"))))
        for name in file.output
        if name.startswith("w_psi")
    }
    net.train()
    ours["w_train"] = broadcast(net(z))
    net.mean.commit(lambda total: total)
    ours["x_avg_after_train"] = net.mean.value
    return ours


def synthesis(file: ParityFile) -> dict[str, Tensor]:
    """Synthesis network: images by noise mode, and gradients of mean(image ** 2)."""
    config = file.config
    if config.get("architecture", "skip") != "skip":
        raise ValueError(f"architecture {config['architecture']!r}: only 'skip' was published")
    net = SynthesisNetwork(
        config["w_dim"],
        resolution=config["img_resolution"],
        channel_base=config["channel_base"],
        channel_max=config["channel_max"],
        num_res_blocks=config["num_res_blocks"],
        num_groups=config.get("gn_groups", 32),
    )
    load_synthesis(net, file.param)
    ours: dict[str, Tensor] = {}
    for mode in ("const", "none"):
        ws = file.input["ws"].clone().requires_grad_()
        net.zero_grad()
        image = net(ws, noise=mode)
        image.square().mean().backward()
        ours[f"img_{mode}"] = image
        ours[f"grad_ws_{mode}"] = _gradient(ws)
        prefix = f"grad_{mode}/"
        for name in (n for n in file.output if n.startswith(prefix)):
            own = rename(name.removeprefix(prefix), SYNTHESIS_RULES)
            ours[name] = _gradient(net.get_parameter(own or "")).view_as(file.output[name])
    return ours


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad.clone()


def head(file: ParityFile) -> dict[str, Tensor]:
    """One discriminator head: logits and the gradient of their mean square for the features."""
    config = file.config
    net = DiscriminatorHead(
        config["channels"],
        condition_dim=config["c_dim"],
        cmap_dim=config["cmap_dim"],
        kernel_size=file.param["main.1.fn.0.weight_orig"].shape[-1],
        virtual_batch=config["virtual_bs"],
    )
    load_head(net, file.param)
    features = file.input["features"].clone().requires_grad_()
    logits = net(features, file.input["c"] if config["c_dim"] else None)
    logits.square().mean().backward()
    return {"logits": logits[:, None, :], "grad_features": _gradient(features)}


def losses(file: ParityFile) -> dict[str, Tensor]:
    """Spherical distance, and the blur at every sigma in the file."""
    ours = {"spherical_distance": spherical_distance_squared(file.input["a"], file.input["b"])}
    for name in file.output:
        if name.startswith("blur_"):
            ours[name] = blur(file.input["img"], float(name.removeprefix("blur_")))
    return ours


def vit_taps(file: ParityFile) -> dict[str, Tensor]:
    """Feature taps of a timm vision transformer."""
    from timm.models.vision_transformer import VisionTransformer

    from models.features.vit import vit_taps as taps_of

    config = file.config
    net = VisionTransformer(
        img_size=config["img_size"],
        patch_size=config["patch_size"],
        embed_dim=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        num_classes=0,
    )
    net.load_state_dict(file.param, strict=True)
    net.eval()
    with torch.no_grad():
        taps = taps_of(net, file.input["x"], config["hooks"], config["hook_patch"])
    return {f"tap_{i}": tap for i, tap in enumerate(taps)}


CHECKS = {
    "stylegan_t_mapping": ParityCheck(mapping),
    "stylegan_t_synthesis": ParityCheck(synthesis),
    "stylegan_t_disc_head": ParityCheck(head),
    "stylegan_t_losses": ParityCheck(losses),
    "stylegan_t_vit_taps": ParityCheck(vit_taps),
}
