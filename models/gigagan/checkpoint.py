"""Read Aurora's published generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.gigagan.attention import Likeness
from models.gigagan.blocks import AttentionStyle
from models.gigagan.generator import GigaGANGenerator
from models.gigagan.names import experts_of
from models.gigagan.text_head import TextReader
from models.interfaces import ConditionShape


def aurora_generator(config: Mapping[str, Any]) -> GigaGANGenerator:
    """Return our generator of the sizes that Aurora's own configuration names."""

    def sized(name: str) -> dict[int, int]:
        return {int(r): n for r, n in (config[name] or {}).items()}

    blocks = sized("num_block_per_res")
    widths = {r: min(config["fmaps_base"] // r, config["fmaps_max"]) for r in blocks}
    likeness: Likeness = "distance" if config["l2_attention"] else "dot"
    depths = {r: n for r, n in sized("attn_depth").items() if str(r) in config["attn_resolutions"]}
    text = TextReader(
        ConditionShape(token_dim=config["clip_out_dim"]),
        config["context_dim"],
        depth=config["num_layers_text_enc"],
        heads=1,
        mixing="none",
        gain=config.get("text_head_gain", 1.0),
        aligns=config["clip_out_dim"] != config["context_dim"],
    )
    return GigaGANGenerator(
        resolution=config["resolution"],
        text=text,
        z_dim=config["z_dim"],
        w_dim=config["w_dim"],
        mapping_layers=config["mapping_layers"],
        mapping_dim=config.get("mapping_fmaps", 0),
        words="last",
        widths=widths,
        kernels=sized("num_adaptive_kernels"),
        blocks=blocks,
        depths=depths,
        experts={r: experts_of(n) for r, n in sized("num_experts").items()},
        input_width=min(config["fmaps_base"] // 2, config["fmaps_max"]),
        attention=AttentionStyle(
            heads=config["num_heads"],
            head_dim=config["head_dim"],
            likeness=likeness,
            tied=config["tie"] and likeness == "distance",
            style="output",
            mask_self=config["mask_self"] and likeness == "distance",
            feed_forward="plain" if config.get("glu") else "gated",
            scale_inside=config["scale_in"],
            gain=config["attn_gain"],
            gain_on="sum",
        ),
        gain=config["residual_gain"],
        gain_on="sum",
        waves=config["fourier_feat"],
        deformable_up_to=16 if config["mtm"] else 0,
    )
