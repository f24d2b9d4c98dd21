"""`ganline import` of AuraSR's published upsamplers: sizes off tensors, the rest off config.json.

What no tensor tells: the scale of the skips, the number of heads, the side of the input. Where the
file stands without its config.json, the published values are taken, and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.gigagan.aura import BLOCKS, DEFAULTS, load_aura, matches
from models.gigagan.cascade import UpsamplerModel
from models.interfaces import ConditionShape
from models.interop.config_file import Settings, read_config
from models.interop.foreign_network import ForeignNetwork
from models.interop.import_request import Asked, Importer, Sizes, no_discriminator

PUBLISHED_SKIP_SCALE, PUBLISHED_TILE_PX = 0.4, 64
DOUBLINGS_LIMIT = 5
LICENCE = "v1 came under CC-BY-SA-4.0, v2 is said to be Apache-2.0"


def aura_sizes(network: ForeignNetwork, asked: Asked) -> Sizes:
    """Return the recipe's fields of an upsampler's tensors.

    Raises:
        ValueError: tensors that are missing or of impossible sizes, or a config.json that says
            something else.
    """
    fields = _from_tensors(network)
    if asked.config is None:
        factor = 2 ** (len(fields["up_mults"]) - len(fields["up_down_mults"]))
        tile = asked.resolution // factor if asked.resolution else PUBLISHED_TILE_PX
        told = {"up_skip_scale": PUBLISHED_SKIP_SCALE, "up_heads": DEFAULTS["self_attn_heads"]}
        assumed = [f"no config.json beside it: skips times {PUBLISHED_SKIP_SCALE}"]
        assumed += [f"{told['up_heads']} heads", f"input of {tile} px"]
    else:
        told, tile, assumed = _from_config(Settings(read_config(asked.config)), fields)
    inner = _inner_width(network)
    if inner % told["up_heads"]:
        raise ValueError(f"attention {inner} wide does not split into {told['up_heads']} heads")
    if told.setdefault("up_head_dim", inner // told["up_heads"]) * told["up_heads"] != inner:
        raise ValueError(
            f"config.json says {told['up_heads']} heads of {told['up_head_dim']}, the tensors "
            f"are {inner} wide"
        )
    factor = 2 ** (len(fields["up_mults"]) - len(fields["up_down_mults"]))
    if tile % 2 ** len(fields["up_down_mults"]):
        halvings = len(fields["up_down_mults"])
        raise ValueError(f"an input of {tile} px cannot be halved {halvings} times")
    return Sizes(
        recipe="gigagan",
        fields={
            "parts": "upsampler",
            "base_px": tile,
            "words": "none",
            "up_text": False,
            "up_pyramid": False,
            "up_range": "0..1",
            **fields,
            **told,
        },
        resolution=tile * factor,
        shape=ConditionShape(),
        assumed=assumed,
    )


def _from_tensors(network: ForeignNetwork) -> dict[str, Any]:
    """Return the fields that shapes and names decide."""

    def shape(name: str, axes: int) -> tuple[int, ...]:
        found = network.shape(name)
        if len(found) != axes or not all(found):
            raise ValueError(f"{name} is {list(found)}, wanted {axes} axes")
        return found

    def count(pattern: str) -> int:
        number = 0
        while pattern.format(number) in network.tensors:
            number += 1
        return number

    style_dim, z_dim = shape("style_network.net.0.weight", 2)
    layers = 0
    while f"style_network.net.{2 * layers}.weight" in network.tensors:
        layers += 1
    dim = shape("final_to_rgb.weight", 4)[1]
    downs, ups = count("downs.{}.1.1.weight"), count("ups.{}.1.0.conv.weight")
    if not 0 < downs < ups <= downs + DOUBLINGS_LIMIT:
        wanted = f"wanted 1 to {DOUBLINGS_LIMIT} more of the latter"
        raise ValueError(f"{downs} stages down and {ups} up: {wanted}")
    widths_down = [shape(f"downs.{i}.1.1.weight", 4)[0] for i in range(downs)]
    widths_in = [shape(f"ups.{i}.1.0.conv.weight", 4)[1] for i in range(ups)]
    if any(width % dim for width in (*widths_down, *widths_in)):
        raise ValueError(f"widths that are no multiples of the last one, {dim}")
    depths = [count(f"ups.{i}.1.1.layers.{{}}.0.to_qkv.weight") for i in range(ups)]
    blocks = count("ups.0.0.{}.block1.proj.weights")
    if not blocks:
        raise ValueError("the checkpoint has no tensor ups.0.0.0.block1.proj.weights")
    return {
        "z_dim": z_dim,
        "up_z_dim": z_dim,
        "up_style_dim": style_dim,
        "up_style_layers": layers,
        "up_dim": dim,
        # Ours count from the largest size, theirs from the coarsest; a stage's input has the width
        # of the size below it.
        "up_mults": tuple(width // dim for width in reversed(widths_in)),
        "up_down_mults": tuple(width // dim for width in widths_down),
        "up_attention_depths": tuple(reversed(depths)),
        "up_middle_depth": count("mid_attn.layers.{}.0.to_qkv.weight"),
        "up_kernels": shape("mid_block1.block1.proj.weights", 5)[0],
        "up_blocks": blocks,
    }


def _inner_width(network: ForeignNetwork) -> int:
    """Return the width of all heads together; the published one where nothing attends."""
    for name in network.tensors:
        if name.endswith("to_qkv.weight"):
            size = network.shape(name)
            return size[0] // 3 if size else 0
    return int(DEFAULTS["self_attn_heads"] * DEFAULTS["self_attn_dim_head"])


def _from_config(
    config: Settings, found: Mapping[str, Any]
) -> tuple[dict[str, Any], int, list[str]]:
    """Hold a config.json against the tensors; return its own fields, the tile, and remarks.

    Where it is silent the authors' constructor fills in, so that counts as said.
    """
    style = config.part("style_network")
    full = config.switches("full_attn", DEFAULTS["full_attn"])
    depths = config.wholes("attn_depths", DEFAULTS["attn_depths"])
    if len(full) != len(depths):
        raise ValueError(f"config.json: {len(full)} full_attn and {len(depths)} attn_depths")
    said = {
        "up_z_dim": style.whole("dim_in", found["up_z_dim"]),
        "up_style_dim": style.whole("dim_out", found["up_style_dim"]),
        "up_style_layers": style.whole("depth", found["up_style_layers"]),
        "up_dim": config.whole("dim", found["up_dim"]),
        "up_mults": config.wholes("up_dim_mults", DEFAULTS["up_dim_mults"]),
        "up_down_mults": config.wholes("down_dim_mults", DEFAULTS["down_dim_mults"]),
        "up_attention_depths": tuple(d if f else 0 for f, d in zip(full, depths, strict=True)),
        "up_middle_depth": config.whole("mid_attn_depth", DEFAULTS["mid_attn_depth"], least=0),
        "up_kernels": config.whole("num_conv_kernels", DEFAULTS["num_conv_kernels"]),
        "up_blocks": BLOCKS,
    }
    style.constant("lr_mul", 0.1)
    style.constant("dim_text_latent", 0)
    config.constant("unconditional", True)
    config.constant("channels", 3)
    for name, value in said.items():
        if value != found[name]:
            raise ValueError(
                f"config.json and the tensors differ in {name}: {str(value)[:60]} and "
                f"{str(found[name])[:60]}"
            )
    told = {
        "up_skip_scale": config.number("skip_connect_scale", DEFAULTS["skip_connect_scale"]),
        "up_heads": config.whole("self_attn_heads", DEFAULTS["self_attn_heads"]),
        "up_head_dim": config.whole("self_attn_dim_head", DEFAULTS["self_attn_dim_head"]),
    }
    factor = 2 ** (len(found["up_mults"]) - len(found["up_down_mults"]))
    tile = config.whole("input_image_size", PUBLISHED_TILE_PX)
    if (large := config.whole("image_size", tile * factor)) != tile * factor:
        raise ValueError(f"config.json: {tile} px become {large}, the tensors make {factor} times")
    unread = sorted(config.unread | style.unread)
    remarks = [f"not read of config.json: {', '.join(unread)[:120]}"] if unread else []
    return told, tile, remarks


def _load(module: UpsamplerModel, theirs: Mapping[str, Tensor]) -> None:
    load_aura(module.network, theirs)


IMPORTER = Importer(
    title="AuraSR",
    matches=matches,
    sizes=aura_sizes,
    load=_load,
    discriminator=no_discriminator("AuraSR's was not published"),
    licence=LICENCE,
)
