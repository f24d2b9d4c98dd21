"""Load StyleGAN2's published state dicts (StyleGAN2-ADA's names) into our modules."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from models.interop.names import Rule, below, load_translated
from models.stylegan2.generator import StyleGAN2Generator

# StyleGAN3 has the same mapping network under the same names.
MAPPING_RULES = (
    Rule(r"fc(\d+)\.(weight|bias)", r"layers.\1.\2"),
    Rule(r"embed\.(weight|bias)", r"embed.\1"),
    Rule(r"w_avg", r"mean.value"),
)

_LAYER = r"(weight|bias|noise_strength|noise_const)"
SYNTHESIS_RULES = (
    # The filter is always [1, 3, 3, 1]; ours is a constant of the code.
    Rule(r".*resample_filter", None),
    Rule(r"b4\.const", "input.value"),
    # The first block has one layer only, and the authors call it the second.
    Rule(r"b4\.conv1\.affine\.(\w+)", r"blocks.4.layers.0.style.\1"),
    Rule(r"b4\.conv1\." + _LAYER, r"blocks.4.layers.0.\1"),
    Rule(r"b(\d+)\.conv([01])\.affine\.(\w+)", r"blocks.\1.layers.\2.style.\3"),
    Rule(r"b(\d+)\.conv([01])\." + _LAYER, r"blocks.\1.layers.\2.\3"),
    Rule(r"b(\d+)\.torgb\.affine\.(\w+)", r"blocks.\1.to_rgb.style.\2"),
    Rule(r"b(\d+)\.torgb\.(weight|bias)", r"blocks.\1.to_rgb.\2"),
)
GENERATOR_RULES = below(r"mapping\.", "mapping.", MAPPING_RULES) + below(
    r"synthesis\.", "synthesis.", SYNTHESIS_RULES
)


def load_generator(module: StyleGAN2Generator, theirs: Mapping[str, Tensor]) -> None:
    """Load the authors' whole generator; errors as in `names.translate`."""
    load_translated(module, theirs, GENERATOR_RULES, "StyleGAN2's generator")
