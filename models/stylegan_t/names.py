"""Load StyleGAN-T's published state dicts into our modules."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from models.interop.names import Rule, below, load_translated
from models.stylegan_t.discriminator import DiscriminatorHead, StyleGANTDiscriminator
from models.stylegan_t.generator import MappingNetwork, StyleGANTGenerator, SynthesisNetwork

MAPPING_RULES = (
    Rule(r"mlp\.fc(\d+)\.(weight|bias)", r"layers.\1.\2"),
    Rule(r"x_avg", r"mean.value"),
)

_LAYER = r"(weight|bias|noise_strength|noise_const|gamma|norm\.weight|norm\.bias)"
SYNTHESIS_RULES = (
    # The filter is always [1, 3, 3, 1]; ours is a constant of the code.
    Rule(r".*resample_filter", None),
    Rule(r"b(\d+)\.input\.freqs", r"blocks.\1.first.frequencies"),
    Rule(
        r"b(\d+)\.input\.(phases|transform|weight|affine\.weight|affine\.bias)",
        r"blocks.\1.first.\2",
    ),
    Rule(r"b(\d+)\.conv0\.affine\.proj\.(\w+)", r"blocks.\1.first.style.projection.\2"),
    Rule(r"b(\d+)\.conv0\." + _LAYER, r"blocks.\1.first.\2"),
    Rule(r"b(\d+)\.convs1\.(\d+)\.affine\.proj\.(\w+)", r"blocks.\1.layers.\2.style.projection.\3"),
    Rule(r"b(\d+)\.convs1\.(\d+)\." + _LAYER, r"blocks.\1.layers.\2.\3"),
    Rule(r"b(\d+)\.torgb\.affine\.proj\.(\w+)", r"blocks.\1.to_rgb.style.projection.\2"),
    Rule(r"b(\d+)\.torgb\.(weight|bias)", r"blocks.\1.to_rgb.\2"),
)


def _spectral(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Return the rules of one spectrally normalised convolution."""
    return (
        Rule(theirs + r"\.weight_orig", f"{ours}.weight"),
        Rule(theirs + r"\.weight_(u|v)", ours + r".\1"),
        Rule(theirs + r"\.bias", f"{ours}.bias"),
    )


HEAD_RULES = (
    *_spectral(r"main\.0\.0", "enter.conv"),
    Rule(r"main\.0\.1\.(weight|bias)", r"enter.norm.\1"),
    *_spectral(r"main\.1\.fn\.0", "residual.conv"),
    Rule(r"main\.1\.fn\.1\.(weight|bias)", r"residual.norm.\1"),
    *_spectral("cls", "classify"),
    Rule(r"cmapper\.(weight|bias)", r"project.\1"),
)


def _in_heads(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the rules for every head; its index is a group too, so the others move up."""
    deeper = []
    for rule in rules:
        name = (rule.name or "").replace(r"\1", r"\2")
        deeper.append(Rule(r"heads\.(\d+)\." + rule.pattern, r"heads.\1." + name))
    return tuple(deeper)


GENERATOR_RULES = below(r"mapping\.", "mapping.", MAPPING_RULES) + below(
    r"synthesis\.", "synthesis.", SYNTHESIS_RULES
)
DISCRIMINATOR_RULES = (Rule(r"dino\..*", None), *_in_heads(HEAD_RULES))


def load_mapping(module: MappingNetwork, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' `mapping` tensors (without its text tower)."""
    load_translated(module, theirs, MAPPING_RULES, "StyleGAN-T's mapping network")


def load_synthesis(module: SynthesisNetwork, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' `synthesis` tensors."""
    load_translated(module, theirs, SYNTHESIS_RULES, "StyleGAN-T's synthesis network")


def load_generator(module: StyleGANTGenerator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' whole generator (without its text tower)."""
    load_translated(module, theirs, GENERATOR_RULES, "StyleGAN-T's generator")


def load_head(module: DiscriminatorHead, theirs: Mapping[str, Tensor]) -> None:
    """Load one discriminator head."""
    load_translated(module, theirs, HEAD_RULES, "a StyleGAN-T discriminator head")


def load_discriminator(module: StyleGANTDiscriminator, theirs: Mapping[str, Tensor]) -> None:
    """Load all heads; the frozen transformer in the same checkpoint is dropped."""
    load_translated(module, theirs, DISCRIMINATOR_RULES, "StyleGAN-T's discriminator")
