"""Load Aurora's published state dicts into our modules.

Its code stores some tensors under two names; both are read, and they must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.gigagan.attention import SelfAttention
from models.interop.names import Rule, below, load_translated

CONV_RULES = (
    Rule(r"filter", None),  # always [1, 3, 3, 1]
    Rule(r"(weight|bias|style\.weight|style\.bias)", r"\1"),
    Rule(r"filter_weight\.(weight|bias)", r"select.\1"),
    Rule(r"mtm_(weight|bias)", r"taps.\1"),
    Rule(r"mtm_scales", r"taps.scale"),
    Rule(r"mtm_style\.(weight|bias)", r"taps.style.\1"),
)
SELF_RULES = (
    Rule(r"to_(qk|v)\.weight", r"to_\1.weight"),
    *below(r"proj_out\.", "out.", CONV_RULES),
)
CROSS_RULES = (
    Rule(r"to_(q|kv)\.weight", r"to_\1.weight"),
    Rule(r"proj_out\.0\.(weight|bias)", r"out.\1"),
)
FEED_FORWARD_RULES = (
    Rule(r"(?:net\.0|project_in)\.(?:proj|0)\.(weight|bias)", r"expand.\1"),
    Rule(r"(?:net\.2|proj_out)\.(weight|bias)", r"contract.\1"),
)
EXPERT_RULES = (
    *below(r"routing\.", "router.", CONV_RULES),
    Rule(r"net\.(\d+)\.0\.(?:proj|0)\.(weight|bias)", r"experts.\1.expand.\2"),
    Rule(r"net\.(\d+)\.2\.(weight|bias)", r"experts.\1.contract.\2"),
)
_LAYER_RULES = (
    Rule(r"norm([123])\.(weight|bias)", r"norm\1.\2"),
    *below(r"self_attn\.", "self_attention.", SELF_RULES),
    *below(r"cross_attn\.", "cross_attention.", CROSS_RULES),
    *below(r"ff\.", "feed_forward.", EXPERT_RULES),
    *below(r"ff\.", "feed_forward.", FEED_FORWARD_RULES),
)
FOURIER_RULES = (
    Rule(r"freqs", "frequencies"),
    Rule(r"(phases|transform|weight|affine\.weight|affine\.bias)", r"\1"),
)
MAPPING_RULES = (Rule(r"dense(\d+)\.(weight|bias)", r"layers.\1.\2"),)
TEXT_RULES = (
    Rule(r"align_dim\.(weight|bias)", r"align.\1"),
    Rule(r"transformer\.res_blocks\.(\d+)\.attn\.to_qkv\.(\w+)", r"blocks.\1.to_qkv.\2"),
    Rule(r"transformer\.res_blocks\.(\d+)\.attn\.to_out\.0\.(\w+)", r"blocks.\1.out.\2"),
    Rule(r"transformer\.res_blocks\.(\d+)\.(?:mlp\.)?c_fc\.(\w+)", r"blocks.\1.expand.\2"),
    Rule(r"transformer\.res_blocks\.(\d+)\.(?:mlp\.)?c_proj\.(\w+)", r"blocks.\1.contract.\2"),
    Rule(r"transformer\.res_blocks\.(\d+)\.(ln_[12])\.(\w+)", r"blocks.\1.\2.\3"),
)


def numbered(theirs: str, ours: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the rules of modules in a list: `theirs` and `ours` hold its index as group 1, so the
    groups of the rules move up by one.
    """
    deeper = []
    for rule in rules:
        name = None
        if rule.name is not None:
            name = ours + re.sub(r"\\(\d)", lambda m: f"\\{int(m[1]) + 1}", rule.name)
        deeper.append(Rule(theirs + rule.pattern, name))
    return tuple(deeper)


ATTENTION_RULES = (
    Rule(r"norm\.(weight|bias)", r"norm.\1"),
    Rule(r"proj_in\.weight", "enter.weight"),
    Rule(r"proj_out\.weight", "leave.weight"),
    *numbered(r"attn_blocks\.(\d+)\.", r"layers.\1.", _LAYER_RULES),
)
_FIRST_RULES = (
    Rule(r"0\.const", "constant"),
    *below(r"0\.", "waves.", FOURIER_RULES),
    *below(r"1\.", "conv.", CONV_RULES),
)
_CONV_BLOCK_RULES = (
    *below(r"conv1\.", "conv1.", CONV_RULES),
    *below(r"conv2\.", "conv2.", CONV_RULES),
    Rule(r"skip_connection\.filter", None),
    Rule(r"skip_connection\.weight", "skip.weight"),
)
SYNTHESIS_RULES = (
    Rule(r"filter", None),
    *numbered(r"net\.(0)\.", r"layers.\1.", _FIRST_RULES),
    *numbered(r"net\.(\d+)\.0\.", r"layers.\1.", _CONV_BLOCK_RULES),
    *numbered(r"net\.(\d+)\.0\.", r"layers.\1.", ATTENTION_RULES),
    *numbered(r"output_res_(\d+)x\d+\.", r"to_rgb.\1.", CONV_RULES),
)
GENERATOR_RULES = (
    Rule(r"w_avg", "mapping.mean.value"),
    *below(r"text_head\.", "text.head.", TEXT_RULES),
    *below(r"mapping\.", "mapping.", MAPPING_RULES),
    *below(r"synthesis\.", "synthesis.", SYNTHESIS_RULES),
)
_TWICE = (
    (r"(.*res_blocks\.\d+\.)(c_fc|c_proj)(\..*)", r"\1mlp.\2\3"),
    (r"(.*ff\.)project_in(\..*)", r"\1net.0\2"),
    (r"(.*ff\.)proj_out(\..*)", r"\1net.2\2"),
)


# By dot products, self-attention has one tensor for queries, keys and values (not the text head's).
QKV = re.compile(r"((?:.*self_attn\.)?)to_qkv\.weight")


def heads_of(module: nn.Module) -> int:
    """Return the heads of the module's self-attention, equal in all layers; 1 where it has none."""
    found = (part.heads for part in module.modules() if isinstance(part, SelfAttention))
    return next(found, 1)


def experts_of(count: int) -> int:
    """Return how many experts Aurora's code builds: below 2 it has plain layers."""
    return count if count > 1 else 0


def split_qkv(theirs: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """Return the tensors, each of queries, keys and values cut in two: queries and keys, values."""
    found = {}
    for name, tensor in theirs.items():
        match = QKV.fullmatch(name)
        if match is None:
            found[name] = tensor
            continue
        by_head = tensor.unflatten(0, (heads, 3, -1))
        found[f"{match[1]}to_qk.weight"] = by_head[:, :2].flatten(0, 2)
        found[f"{match[1]}to_v.weight"] = by_head[:, 2].flatten(0, 1)
    return found


def joined_banks(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, each bank [N, O, I, k, k] with its kernels one after the other."""
    return {name: x.flatten(0, 1) if x.ndim == 5 else x for name, x in theirs.items()}


def check_twins(theirs: Mapping[str, Tensor]) -> None:
    """Hold tensors that are stored under two names against each other.

    Raises:
        ValueError: they differ.
    """
    for pattern, other in _TWICE:
        for name, tensor in theirs.items():
            match = re.fullmatch(pattern, name)
            twin = theirs.get(match.expand(other)) if match else None
            if twin is None or tensor.is_meta:
                continue
            if not torch.equal(tensor, twin):
                raise ValueError(f"{name} and {match.expand(other)} differ")  # type: ignore[union-attr]


def load_aurora(module: nn.Module, theirs: Mapping[str, Tensor]) -> None:
    """Load Aurora's whole generator.

    Raises:
        ValueError: tensors that do not fit, or that contradict each other.
    """
    check_twins(theirs)
    theirs = split_qkv(theirs, heads_of(module))
    load_translated(module, joined_banks(theirs), GENERATOR_RULES, "Aurora's generator")
