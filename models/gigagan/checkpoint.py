"""Read Aurora's published generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.gigagan.blocks import AttentionStyle
from models.gigagan.generator import GigaGANGenerator
from models.gigagan.text_head import TextReader
from models.interfaces import ConditionShape


def aurora_generator(config: Mapping[str, Any]) -> GigaGANGenerator:
    """Return our generator of the sizes that Aurora's own configuration names."""

    def sized(name: str) -> dict[int, int]:
        return {int(r): n for r, n in (config[name] or {}).items()}

    blocks = sized("num_block_per_res")
    widths = {r: min(config["fmaps_base"] // r, config["fmaps_max"]) for r in blocks}
    depths = {r: n for r, n in sized("attn_depth").items() if str(r) in config["attn_resolutions"]}
    text = TextReader(
        ConditionShape(token_dim=config["clip_out_dim"]),
        config["context_dim"],
        depth=config["num_layers_text_enc"],
        heads=1,
        mixing="none",
    )
    return GigaGANGenerator(
        resolution=config["resolution"],
        text=text,
        z_dim=config["z_dim"],
        w_dim=config["w_dim"],
        mapping_layers=config["mapping_layers"],
        words="last",
        widths=widths,
        kernels=sized("num_adaptive_kernels"),
        blocks=blocks,
        depths=depths,
        experts=sized("num_experts"),
        attention=AttentionStyle(
            heads=config["num_heads"],
            head_dim=config["head_dim"],
            likeness="distance" if config["l2_attention"] else "dot",
            tied=config["tie"],
            style="output",
            mask_self=config["mask_self"],
            scale_inside=config["scale_in"],
            gain=config["attn_gain"],
            gain_on="sum",
        ),
        gain=config["residual_gain"],
        gain_on="sum",
        waves=config["fourier_feat"],
        deformable_up_to=16 if config["mtm"] else 0,
    )
