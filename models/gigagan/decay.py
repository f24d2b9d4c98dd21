"""The family's optimizer: AdamW, with more decay on attention.

By Kang et al. 2023, section 3.2 and table A2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from models.gigagan.attention import CrossAttention, SelfAttention
from models.gigagan.fields import GigaGANFields
from models.gigagan.unet_blocks import PixelAttention
from models.interfaces import OptimizerSettings

_NO_PROJECTION = ("norm", "norm_mlp", "norm_words", "expand", "contract")  # of PixelAttention


def adam(
    recipe: GigaGANFields, learning_rate: float, nets: Sequence[nn.Module] = ()
) -> OptimizerSettings:
    """Return the recipe's optimizer at a learning rate; the weights of `nets` decay."""
    return OptimizerSettings(
        learning_rate=learning_rate,
        beta1=recipe.beta1,
        beta2=recipe.beta2,
        decay=decays(recipe, nets),
    )


def decays(recipe: GigaGANFields, nets: Iterable[nn.Module]) -> dict[float, list[nn.Parameter]]:
    """Return factor -> the parameters of the nets that it is for; none for a factor of 0."""
    nets = list(nets)
    attention = {
        id(parameter)
        for net in nets
        for part in net.modules()
        if isinstance(part, SelfAttention | CrossAttention | PixelAttention)
        for name, parameter in part.named_parameters()
        if name.partition(".")[0] not in _NO_PROJECTION
    }
    found: dict[float, list[nn.Parameter]] = {}
    for parameter in (p for net in nets for p in net.parameters()):
        own = id(parameter) in attention
        factor = recipe.attention_weight_decay if own else recipe.weight_decay
        if factor:
            found.setdefault(factor, []).append(parameter)
    return found
