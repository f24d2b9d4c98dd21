"""Recompute what StyleGAN2's own code computed, from a parity file's weights and inputs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.interop.parity_file import ParityCheck, ParityFile
from models.stylegan2.generator import StyleGAN2Generator
from models.stylegan2.names import load_generator


def generator(file: ParityFile) -> dict[str, Tensor]:
    """Mapping and synthesis at every truncation in the file, constant noise."""
    config = file.config
    if config.get("architecture", "skip") != "skip":
        raise ValueError(f"architecture {config['architecture']!r}: ours is 'skip'")
    net = StyleGAN2Generator(
        resolution=config["img_resolution"],
        # Any vector conditions as a text embedding does; a class is a one-hot vector.
        shape=ConditionShape(pooled_dim=config["c_dim"]),
        z_dim=config["z_dim"],
        w_dim=config["w_dim"],
        num_mapping_layers=config["num_layers"],
        channel_base=config["channel_base"],
        channel_max=config["channel_max"],
        clamp=config.get("conv_clamp"),
        image_channels=config["img_channels"],
    )
    load_generator(net, file.param)
    net.eval()
    condition = Condition(pooled_ND=_vector(file, config["c_dim"]))
    ours: dict[str, Tensor] = {}
    with torch.no_grad():
        for name in file.output:
            kind, _, psi = name.partition("_psi")
            ws = net.map(file.input["z"], condition, float(psi))
            ours[name] = ws if kind == "ws" else net.synthesize(ws)
    return ours


def _vector(file: ParityFile, width: int) -> Tensor | None:
    """Return the conditioning vector [N, width], which a file gives as it is or by class index."""
    given = next((file.input[name] for name in ("c", "label") if name in file.input), None)
    if not width or given is None:
        return None
    return given.float() if given.ndim == 2 else F.one_hot(given, width).float()


CHECKS = {
    "stylegan2_generator": ParityCheck(generator),
}
