"""S-space: the styles that scale a generator's layers, read out and put back (Wu et al. 2021).

"StyleSpace Analysis: Disentangled Controls for StyleGAN Image Generation". A layer takes part by
saying `style_kind`, and by having `style`, the module that makes its style of an entry of ws. Which
entry that is, and in which order the layers run, is read off one run of the generator itself, so no
family keeps a table of it.

Legend: N samples, L entries of ws, D width of w, C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["conv", "rgb", "input"]


@dataclass(frozen=True)
class StyleLayer:
    """A layer that is scaled by a style.

    Attributes:
        name: dotted name of the layer in the generator.
        kind: "conv": a convolution between features; "rgb": to an image; "input": where the
            synthesis begins, whose style moves and rotates the picture.
        code: entry of ws that the style is made of.
        channels: C, the numbers in the style.
        module: the layer; its `style` makes the style.
    """

    name: str
    kind: Kind
    code: int
    channels: int
    module: nn.Module

    @property
    def style(self) -> nn.Module:
        """The module w [N, D] -> style [N, C]."""
        made: Any = self.module.style
        return made  # type: ignore[no-any-return]


def style_layers(generator: Any) -> tuple[StyleLayer, ...]:
    """Return the layers with a style, in the order in which they run.

    Costs one image. A generator on the meta device costs nothing.

    Raises:
        ValueError: the generator has no styles.
    """
    found = {name: m for name, m in generator.named_modules() if hasattr(m, "style_kind")}
    if not found:
        raise ValueError(
            "this family's layers are not scaled by styles, so it has no S-space: edit its codes "
            "(method optimise or mapper in space w), or take another family"
        )
    device = next(generator.parameters()).device
    ws_1LD = torch.zeros(1, generator.num_ws, generator.w_dim, device=device)
    layers: list[StyleLayer] = []

    def note(name: str, module: nn.Module) -> Any:
        def look(_: nn.Module, inputs: tuple[Tensor, ...], style_NC: Tensor) -> None:
            code = inputs[0].storage_offset() // generator.w_dim  # a view of ws says which entry
            layers.append(StyleLayer(name, module.style_kind, code, style_NC.shape[1], module))  # type: ignore[arg-type]

        return look

    handles = [m.style.register_forward_hook(note(name, m)) for name, m in found.items()]
    try:
        with torch.no_grad():
            generator.synthesize(ws_1LD, None, noise="none")
    finally:
        for handle in handles:
            handle.remove()
    return tuple(layers)


def styles_of(layers: Sequence[StyleLayer], ws_NLD: Tensor) -> dict[str, Tensor]:
    """Return layer -> style [N, C] of codes, in the order of the layers; differentiable."""
    return {layer.name: layer.style(ws_NLD[:, layer.code]) for layer in layers}


def check_styles(layers: Sequence[StyleLayer], styles: Mapping[str, Tensor]) -> int:
    """Return N, the number of samples that all styles have.

    Raises:
        ValueError: a layer is unknown or missing, or a style has another shape.
    """
    wanted = {layer.name: layer.channels for layer in layers}
    if unlike := sorted(wanted.keys() ^ styles.keys()):
        raise ValueError(f"styles of other layers than the generator's: {', '.join(unlike[:6])}")
    count = len(next(iter(styles.values())))
    for name, style_NC in styles.items():
        if list(style_NC.shape) != [count, wanted[name]]:
            raise ValueError(
                f"style of {name} is {list(style_NC.shape)}, wanted {[count, wanted[name]]}"
            )
    return count


@contextmanager
def styled(layers: Sequence[StyleLayer], styles: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the layers take these styles in place of their own for a while."""

    def give(style_NC: Tensor) -> Any:
        return lambda module, inputs, own: style_NC

    handles = [layer.style.register_forward_hook(give(styles[layer.name])) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
