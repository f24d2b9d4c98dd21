"""`ganline import` of Aurora's published generator: its sizes, off names and shapes.

Its configuration is in no file but the authors' script, so what no tensor tells is taken as
published, and said: number of heads, gains, how tokens are compared, groups of the norms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from models.gigagan.names import load_aurora
from models.interfaces import ConditionShape
from models.interop.foreign_network import ForeignNetwork
from models.interop.import_request import (
    Asked,
    Importer,
    Sizes,
    block_widths,
    no_discriminator,
)

HEADS, FIRST_PX, LARGEST_PX = 8, 4, 1024
PUBLISHED = {
    "residual_gain": 0.4,
    "attention_gain": 0.3,
    "gain_on": "sum",
    "likeness": "distance",
    "style_in_attention": "output",
    "mask_self": False,
    "norm_groups": 32,
    "text_mixing": "none",
    "mask_padding": False,
    "words": "last",
    "cross_attention": True,
    "fourier_input": True,
}
LICENCE = (
    "its code is MIT with parts under NVIDIA's non-commercial licence, and its page says for "
    "research only"
)
MARKS = ("text_head.align_dim.weight", "synthesis.net.0.1.weight", "mapping.dense0.weight")


def matches(names: Iterable[str]) -> bool:
    """Whether tensors of these names are this network's."""
    found = set(names)
    return all(mark in found for mark in MARKS)


@dataclass
class _Size:
    """What the blocks of one resolution have in common."""

    blocks: int = 0
    attended: int = 0
    depth: int = 0
    experts: int = 0
    deformable: bool = False


def aurora_sizes(network: ForeignNetwork, asked: Asked) -> Sizes:
    """Return the recipe's fields of a generator's tensors.

    Raises:
        ValueError: tensors that are missing, of impossible sizes, or in an order that our network
            cannot have.
    """

    def shape(name: str, axes: int) -> tuple[int, ...]:
        found = network.shape(name)
        if len(found) != axes or not all(found):
            raise ValueError(f"{name} is {list(found)}, wanted {axes} axes")
        return found

    context, token_dim = shape(MARKS[0], 2)
    w_dim, inputs = shape(MARKS[2], 2)
    if inputs <= context:
        raise ValueError(f"the mapping takes {inputs} numbers, of which {context} are the text's")
    sizes = _walk(network)
    rgb = {r: shape(f"synthesis.output_res_{r}x{r}.weight", 5) for r in sizes}
    depths, attends = [size.depth for size in sizes.values()], _first_attention(network)
    inner = shape(f"{attends}.proj_in.weight", 4)[0] if attends else HEADS
    both = shape(f"{attends}.attn_blocks.0.self_attn.to_qk.weight", 2)[0] if attends else 0
    heads = HEADS if inner % HEADS == 0 else 1
    moved = [r for r, size in sizes.items() if size.deformable]
    if moved and moved != [r for r in sizes if r <= moved[-1]]:
        raise ValueError(f"deformable blocks at {moved} px: ours are deformable up to one size")
    fields: dict[str, Any] = {
        **PUBLISHED,
        "parts": "base",
        "z_dim": inputs - context,
        "w_dim": w_dim,
        "mapping_layers": _count(network, r"mapping\.dense(\d+)\.weight"),
        "text_width": context,
        "text_depth": _count(network, r"text_head\.transformer\.res_blocks\.(\d+)\.ln_1\.weight"),
        **block_widths({r: size[2] for r, size in rgb.items()}),
        "kernels": tuple(size[0] for size in rgb.values()),
        "blocks": tuple(size.blocks for size in sizes.values()),
        "attention_depths": tuple(depths),
        "experts": tuple(size.experts for size in sizes.values()),
        "deformable_up_to_px": max(moved, default=0),
        "attention_heads": heads,
        "head_dim": inner // heads,
        "tied": both == inner,
    }
    shown = f"{heads} heads, {PUBLISHED['norm_groups']} groups in the norms, gains 0.4 and 0.3"
    assumed = [f"{shown}, unsquared distances (--set changes a field)"]
    return Sizes(
        recipe="gigagan",
        fields=fields,
        resolution=max(sizes),
        shape=ConditionShape(pooled_dim=token_dim, token_dim=token_dim),
        assumed=assumed,
    )


def _walk(network: ForeignNetwork) -> dict[int, _Size]:
    """Follow the blocks in their order; return resolution -> what its blocks are."""
    names, size = network.tensors, FIRST_PX
    sizes = {size: _Size(blocks=1, deformable="synthesis.net.0.1.mtm_weight" in names)}
    experts = _per_block(names, r"\.attn_blocks\.0\.ff\.net\.(\d+)\.0\.proj\.weight")
    depths = _per_block(names, r"\.attn_blocks\.(\d+)\.norm1\.weight")
    number = 1
    while True:
        block = f"synthesis.net.{number}.0."
        if f"{block}conv1.weight" in names:
            if f"{block}conv1.filter" in names:
                size *= 2
                if size > LARGEST_PX:
                    raise ValueError(f"images of more than {LARGEST_PX} px")
            own = sizes.setdefault(size, _Size())
            own.blocks += 1
            own.deformable = f"{block}conv2.mtm_weight" in names
        elif f"{block}proj_in.weight" in names:
            own = sizes[size]
            own.attended += 1
            own.depth, own.experts = depths.get(number, 0), experts.get(number, 0)
            if own.attended != own.blocks:
                raise ValueError(f"{block[:-3]} attends out of turn: each block or none does")
        else:
            break
        number += 1
    for size, own in sizes.items():
        if own.attended not in (0, own.blocks):
            raise ValueError(f"{own.attended} of the {own.blocks} blocks at {size} px attend")
    if len(sizes) < 2:
        raise ValueError("no block doubles the 4 px: there is no conv1.filter")
    return sizes


def _per_block(names: Iterable[str], pattern: str) -> dict[int, int]:
    """Return number of a block -> how many of its parts a pattern names."""
    found: dict[int, set[int]] = {}
    for name in names:
        match = re.fullmatch(r"synthesis\.net\.(\d{1,6})\.0" + pattern, name)
        if match:
            found.setdefault(int(match[1]), set()).add(int(match[2][:6]))
    return {number: len(parts) for number, parts in found.items()}


def _first_attention(network: ForeignNetwork) -> str:
    """Return the name of the first block of attention; '' without one."""
    for name in sorted(network.tensors):
        if name.startswith("synthesis.net.") and name.endswith(".0.proj_in.weight"):
            return name.removesuffix(".proj_in.weight")
    return ""


def _count(network: ForeignNetwork, pattern: str) -> int:
    return sum(1 for name in network.tensors if re.fullmatch(pattern, name))


IMPORTER = Importer(
    title="Aurora",
    matches=matches,
    sizes=aurora_sizes,
    load=load_aurora,
    discriminator=no_discriminator("Aurora's was not published"),
    licence=LICENCE,
)
