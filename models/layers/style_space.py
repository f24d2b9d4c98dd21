"""S-space: the styles that scale a generator's layers, read out and put back (Wu et al. 2021).

"StyleSpace Analysis: Disentangled Controls for StyleGAN Image Generation". A layer takes part by
saying `style_kind`, and by having `style`, the module that makes its style of an entry of ws. Which
entry that is, and in which order the layers run, is read off one run of the generator itself, so no
family keeps a table of it. All that a code does to an image has to go through such layers, or the
styles of a code do not give its image.

Legend: N samples, L entries of ws, D width of w, C channels of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from models.interfaces import Condition
from models.layers.equalized import EqualizedLinear

Kind = Literal["conv", "rgb", "input", "steer"]


@dataclass(frozen=True)
class StyleLayer:
    """A layer that is scaled by a style.

    Attributes:
        name: dotted name of the layer in the generator.
        kind: "conv": a convolution between features; "rgb": to an image; "input": where the
            synthesis begins, whose style moves and rotates the picture; "steer": what else a code
            gives a layer (shares of kernels, shifts, a token), which scales no channel.
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


class Steering(EqualizedLinear):
    """w [N, D] -> numbers [N, C] that a layer takes beside its style: a style of kind "steer"."""

    style_kind: ClassVar[Kind] = "steer"

    @property
    def style(self) -> nn.Module:
        """The module that makes them: itself."""
        return self


def style_layers(generator: StyledGenerator) -> tuple[StyleLayer, ...]:
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
            generator.draw_once(ws_1LD)
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


class StyledGenerator(nn.Module):
    """S-space of a generator, given `map` and `synthesize`."""

    synthesize: Any
    num_ws: int
    w_dim: int

    def draw_once(self, ws_1LD: Tensor) -> None:
        """Let every layer run once; a family that has to be asked for something overrides it."""
        self.synthesize(ws_1LD, None, noise="none")

    def style_layers(self) -> tuple[StyleLayer, ...]:
        """Return the layers of S-space, in the order in which they run; found once.

        Raises:
            ValueError: the family has no styles.
        """
        if "_style_layers" not in self.__dict__:  # not a module's attribute: nothing of it is saved
            self.__dict__["_style_layers"] = style_layers(self)
        found: tuple[StyleLayer, ...] = self.__dict__["_style_layers"]
        return found

    def styles(self, ws_NLD: Tensor) -> dict[str, Tensor]:
        """Return layer -> style [N, C] of codes, as `map` makes them; errors as `style_layers`."""
        return styles_of(self.style_layers(), ws_NLD)

    def synthesize_from_styles(
        self,
        styles: Mapping[str, Tensor],
        condition: Condition | None = None,
        noise: Any = "const",
    ) -> Tensor:
        """Return images [N, 3, resolution, resolution] of styles, as `synthesize` of codes does.

        Args:
            styles: layer -> [N, C], of every layer of `style_layers`.
            condition: what the codes were made for; only read by families that read it there.
            noise: see `synthesize`.

        Raises:
            ValueError: the family has no styles, or they are not those of its layers.
        """
        layers = self.style_layers()
        count = check_styles(layers, styles)
        like = next(iter(styles.values()))
        unread_NLD = like.new_zeros(count, self.num_ws, self.w_dim)
        with styled(layers, styles):
            image: Tensor = self.synthesize(unread_NLD, condition, noise)
        return image
