"""AuraSR's published upsampler: its configuration, its names, its parity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.gigagan.names import joined_banks, numbered
from models.gigagan.unet import Upsampler
from models.interop.names import Rule, below, load_translated

# What the authors' constructor fills in where config.json is silent.
DEFAULTS: dict[str, Any] = {
    "up_dim_mults": [1, 2, 4, 8, 16],
    "down_dim_mults": [4, 8, 16],
    "full_attn": [False, False, False, True, True],
    "attn_depths": [2, 2, 2, 2, 4],
    "mid_attn_depth": 4,
    "num_conv_kernels": 4,
    "self_attn_heads": 8,
    "self_attn_dim_head": 64,
    "skip_connect_scale": 2**-0.5,
}
BLOCKS = 6

_LINEAR = r"(weight|bias)"
BLOCK_RULES = (
    Rule(r"block([12])\.proj\.weights", r"bank\1"),
    Rule(r"res_conv\." + _LINEAR, r"skip.\1"),
)
ATTENTION_RULES = (
    Rule(r"0\.attend\.scale", None),  # stored, never used
    Rule(r"0\.norm\.g", "norm.gain"),
    Rule(r"0\.to_qkv\.weight", "to_qkv.weight"),
    Rule(r"0\.to_out\." + _LINEAR, r"out.\1"),
    Rule(r"1\.0\.g", "norm_mlp.gain"),
    Rule(r"1\.1\." + _LINEAR, r"expand.\1"),
    Rule(r"1\.3\." + _LINEAR, r"contract.\1"),
)
STYLE_RULES = tuple(
    Rule(rf"net\.{2 * i}\.{kind}", rf"{ours}.{i}")
    for i in range(16)
    for kind, ours in (("weight", "weights"), ("bias", "biases"))
)
_BLOCKS = numbered(r"0\.(\d+)\.", r"blocks.\1.", BLOCK_RULES)
_ATTENTION = numbered(r"1\.1\.layers\.(\d+)\.", r"attention.\1.", ATTENTION_RULES)
_ATTENTION_DOWN = numbered(r"1\.0\.layers\.(\d+)\.", r"attention.\1.", ATTENTION_RULES)
RULES = (
    *below(r"style_network\.", "style.", STYLE_RULES),
    Rule(r"init_conv\." + _LINEAR, r"enter.\1"),
    Rule(r"downs\.(\d+)\.1\.1\." + _LINEAR, r"downs.\1.resize.\2"),
    *numbered(r"downs\.(\d+)\.", r"downs.\1.", (*_BLOCKS, *_ATTENTION_DOWN)),
    Rule(r"ups\.(\d+)\.1\.0\.conv\." + _LINEAR, r"ups.\1.resize.\2"),
    *numbered(r"ups\.(\d+)\.", r"ups.\1.", (*_BLOCKS, *_ATTENTION)),
    *numbered(r"mid_block([12])\.", r"middle\1.", BLOCK_RULES),
    *numbered(r"mid_attn\.layers\.(\d+)\.", r"middle.\1.", ATTENTION_RULES),
    *below(r"final_res_block\.", "last.", BLOCK_RULES),
    Rule(r"final_to_rgb\." + _LINEAR, r"to_rgb.\1"),
    Rule(r"style_to_conv_modulations\." + _LINEAR, r"modulate.\1"),
)


def matches(names: Any) -> bool:
    """Whether tensors of these names are this network's."""
    return "style_to_conv_modulations.weight" in names


def upsampler_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Upsampler` that a config.json describes."""
    config = {**DEFAULTS, **config}
    style = config["style_network"]
    both = zip(config["full_attn"], config["attn_depths"], strict=True)
    depths = tuple(depth if full else 0 for full, depth in both)
    return {
        "z_dim": style["dim_in"],
        "style_dim": style["dim_out"],
        "style_layers": style["depth"],
        "dim": config["dim"],
        "up_mults": tuple(config["up_dim_mults"]),
        "down_mults": tuple(config["down_dim_mults"]),
        "depths": depths,
        # Theirs reads the same list from its front on the way down; released ones begin with none.
        "down_depths": depths[: len(config["down_dim_mults"])],
        "middle_depth": config["mid_attn_depth"],
        "num_kernels": config["num_conv_kernels"],
        "heads": config["self_attn_heads"],
        "head_dim": config["self_attn_dim_head"],
        "blocks": BLOCKS,
        "skip_scale": config["skip_connect_scale"],
        "pyramid": False,
    }


def load_aura(module: Upsampler, theirs: Mapping[str, Tensor]) -> None:
    """Load the published upsampler; ValueError where it does not fit."""
    load_translated(module, joined_banks(theirs), RULES, "AuraSR")
