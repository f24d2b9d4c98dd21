"""Load StyleGAN3's and StyleGAN-XL's published state dicts into our modules.

The authors name a layer by its number, size and width (L3_36_512). The numbers of a network that
grew are not those of its position, so the names come from the plans of its growth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from models.interop.names import Rule, below, load_translated
from models.stylegan2.names import MAPPING_RULES
from models.stylegan_xl.alias_free import AliasFreeLayer, AliasFreeSynthesis
from models.stylegan_xl.alias_free_plan import LayerPlan, num_kept
from models.stylegan_xl.generator import ClassMapping, StyleGANXLGenerator
from models.stylegan_xl.stylegan3 import StyleGAN3Generator

Plans = Sequence[Sequence[LayerPlan]]

CLASS_MAPPING_RULES = (
    Rule(r"embed\.weight", "embedding"),
    Rule(r"embed_proj\.(weight|bias)", r"embed.\1"),
    *(rule for rule in MAPPING_RULES if not rule.pattern.startswith("embed")),
)
# The published code makes the table also where there are no classes, and never reads it.
PLAIN_MAPPING_RULES = (Rule(r"embed\.weight", None), *CLASS_MAPPING_RULES)


def published_names(plans: Plans) -> list[str]:
    """Return the authors' names of the layers of the last plan, in order.

    Args:
        plans: of the stem, then after each growth (`growth_plans`).
    """
    numbers = list(range(len(plans[0])))
    for before, plan in pairwise(plans):
        kept = num_kept(before)
        # A head is numbered from kept + 1, which counts the input as a layer.
        numbers = numbers[:kept] + list(range(kept + 1, len(plan) + 1))
    signals = [layer.after for layer in plans[-1]]
    return [f"L{i}_{x.size}_{x.channels}" for i, x in zip(numbers, signals, strict=True)]


def synthesis_rules(plans: Plans) -> tuple[Rule, ...]:
    """Return the rules of the network that the last plan describes."""
    rules = [
        Rule(r"input\.freqs", "input.frequencies"),
        Rule(r"input\.(phases|transform|weight|affine\.weight|affine\.bias)", r"input.\1"),
    ]
    for i, name in enumerate(published_names(plans)):
        theirs = re.escape(name)
        rules += [
            Rule(theirs + r"\.(weight|bias)", rf"layers.{i}.\1"),
            Rule(theirs + r"\.affine\.(weight|bias)", rf"layers.{i}.style.\1"),
            Rule(theirs + r"\.magnitude_ema", f"layers.{i}.magnitude"),
            Rule(theirs + r"\.(up|down)_filter", None),  # `_check_filters` compares them
        ]
    return tuple(rules)


def load_synthesis(module: AliasFreeSynthesis, theirs: Mapping[str, Tensor], plans: Plans) -> None:
    """Load the authors' `synthesis` tensors.

    Raises:
        ValueError: names that do not fit, or filters other than those of the plan.
    """
    load_translated(module, theirs, synthesis_rules(plans), "an alias-free synthesis network")
    _check_filters(module, theirs, published_names(plans))


def load_class_mapping(module: ClassMapping, theirs: Mapping[str, Tensor]) -> None:
    """Load StyleGAN-XL's `mapping` tensors."""
    load_translated(module, theirs, _class_rules(module), "StyleGAN-XL's mapping network")


def load_stylegan3(module: StyleGAN3Generator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' whole StyleGAN3 generator."""
    _load(module, theirs, MAPPING_RULES, [module.synthesis.plan], "StyleGAN3's generator")


def load_stylegan_xl(module: StyleGANXLGenerator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' whole StyleGAN-XL generator, grown or not."""
    _load(module, theirs, _class_rules(module.mapping), module.plans, "StyleGAN-XL's generator")


def _class_rules(mapping: ClassMapping) -> tuple[Rule, ...]:
    return PLAIN_MAPPING_RULES if mapping.embedding is None else CLASS_MAPPING_RULES


def _load(
    module: StyleGAN3Generator | StyleGANXLGenerator,
    theirs: Mapping[str, Tensor],
    mapping_rules: tuple[Rule, ...],
    plans: Plans,
    what: str,
) -> None:
    rules = below(r"mapping\.", "mapping.", mapping_rules)
    rules += below(r"synthesis\.", "synthesis.", synthesis_rules(plans))
    load_translated(module, theirs, rules, what)
    synthesis = {
        name.removeprefix("synthesis."): tensor
        for name, tensor in theirs.items()
        if name.startswith("synthesis.")
    }
    _check_filters(module.synthesis, synthesis, published_names(plans))


def _check_filters(
    module: AliasFreeSynthesis, theirs: Mapping[str, Tensor], names: list[str]
) -> None:
    """Compare the stored filters with ours, which follow from the plan alone."""
    wrong = []
    for name, layer in zip(names, module.layers, strict=True):
        if not isinstance(layer, AliasFreeLayer):
            continue
        own = {"up_filter": layer.activation.up_taps, "down_filter": layer.activation.down_taps}
        for kind, taps in own.items():
            stored = theirs.get(f"{name}.{kind}")
            if stored is None or stored.is_meta:  # names and shapes alone are being compared
                continue
            if not (stored.shape == taps.shape and torch.allclose(stored, taps, rtol=0, atol=1e-5)):
                wrong.append(f"{name}.{kind}")
    if wrong:
        raise ValueError(
            "the checkpoint's filters are not those of its sizes and options, check num_critical, "
            f"radial filters, filter size and cutoffs: {', '.join(wrong)}"
        )
