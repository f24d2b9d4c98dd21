"""Read StyleGAN-T's snapshots: sizes, discriminator heads, and the text tower inside."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from models.interfaces import ConditionShape
from models.interop.foreign_network import ForeignNetwork
from models.interop.import_request import (
    Asked,
    Importer,
    Part,
    Sizes,
    block_widths,
    check_published,
    first_number,
)
from models.interop.names import Rule, load_translated
from models.stylegan_t.discriminator import StyleGANTDiscriminator
from models.stylegan_t.names import GENERATOR_RULES, load_discriminator

TOWER = "mapping.clip.model."
HEAD_WIDTH = 64  # of OpenAI's towers: one attention head for each 64 channels


def sizes(network: ForeignNetwork, asked: Asked) -> Sizes:
    """Return what the shapes say; text is as wide as w is wider than z."""
    tensors = network.tensors
    resolutions = {int(m[1]) for n in tensors if (m := re.match(r"synthesis\.b(\d+)\.", n))}
    widths = {r: network.shape(f"synthesis.b{r}.torgb.weight")[1] for r in resolutions}
    z_dim = network.shape("mapping.mlp.fc0.weight")[1]
    w_dim = network.shape("synthesis.b8.input.affine.weight")[1]
    convs = {m[1] for n in tensors if (m := re.match(r"synthesis\.b8\.convs1\.(\d+)\.", n))}
    groups = network.fact("synthesis.b8.convs1.1.norm.num_groups")
    fields = {
        **block_widths(widths),
        "num_res_blocks": len(convs) // 2,
        "z_dim": z_dim,
        "group_norm_groups": int(first_number(groups, otherwise=32)),
    }
    check_published(network, {"mapping.mlp.fc0.bias_gain": 0.01, "synthesis.b8.conv_clamp": 256})
    return Sizes(
        recipe="stylegan_t",
        fields=fields,
        resolution=max(resolutions),
        shape=ConditionShape(pooled_dim=w_dim - z_dim),
        assumed=[] if groups else ["group_norm_groups 32"],
    )


def load(module: Any, theirs: Any) -> None:
    """Load the authors' generator; its text tower stands apart."""
    rules = (Rule(re.escape("mapping.clip.") + ".*", None), *GENERATOR_RULES)
    load_translated(module, theirs, rules, "StyleGAN-T's generator")


def discriminator(network: ForeignNetwork, sizes: Sizes) -> Part:
    """Return the heads on DINO's taps; the transformer itself is dropped."""
    heads = {m[1] for n in network.tensors if (m := re.match(r"heads\.(\d+)\.main\.", n))}
    if not heads:
        raise ValueError("it has no heads on the taps of a vision transformer")
    kernel_size = network.shape("heads.0.main.1.fn.0.weight_orig")[2]
    cmap_dim = network.shape("heads.0.cls.weight_orig")[0] if sizes.shape.pooled_dim else 64
    return Part(
        fields={"head_kernel_size": kernel_size, "cmap_dim": cmap_dim},
        build=lambda: StyleGANTDiscriminator(
            num_taps=len(heads),
            tap_dim=network.shape("heads.0.main.0.0.weight_orig")[0],
            shape=sizes.shape,
            cmap_dim=cmap_dim,
            kernel_size=kernel_size,
        ),
        load=load_discriminator,
    )


def text_encoder(network: ForeignNetwork, sizes: Sizes) -> nn.Module | None:
    """Return CLIP's text tower with the weights inside the snapshot: what it was trained with.

    Heads and activation follow OpenAI's towers, the only ones that were published.
    """
    from models.features.clip import ClipText

    inside = {n: x for n, x in network.tensors.items() if n.startswith(TOWER)}
    theirs = {n.removeprefix(TOWER): x for n, x in ForeignNetwork(inside).read().items()}
    if not theirs:
        return None
    depth = {m[1] for n in theirs if (m := re.match(r"transformer\.resblocks\.(\d+)\.", n))}
    context, width = theirs["positional_embedding"].shape
    tower = ClipText.build(
        {
            "embed_dim": theirs["text_projection"].shape[1],
            "text_cfg": {
                "context_length": context,
                "vocab_size": len(theirs["token_embedding.weight"]),
                "width": width,
                "heads": max(width // HEAD_WIDTH, 1),
                "layers": len(depth),
            },
            "quick_gelu": True,
            "tokenizer": {"kind": "open_clip", "context_length": context},
        }
    )
    rules = (Rule(r"logit_scale|logit_bias|attn_mask|visual\..*", None), Rule(r"(.*)", r"\1"))
    load_translated(tower.network, theirs, rules, "CLIP's text tower")
    return tower.requires_grad_(False).eval()


IMPORTER = Importer(
    title="StyleGAN-T",
    matches=lambda names: "mapping.x_avg" in names,
    sizes=sizes,
    load=load,
    discriminator=discriminator,
    text_encoder=text_encoder,
)
