"""Adaptive selection of layers (Gal et al. 2021, section 4.2): train where the codes want to move.

Legend: N samples, L entries of ws, D width of w.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.layers.style_space import StyleLayer


def displacement(
    ws_NLD: Tensor, loss: Callable[[Tensor], Tensor], *, steps: int, rate: float
) -> Tensor:
    """Return how far codes move [N, L, D] in so many plain gradient steps down a loss.

    The moves are summed, not subtracted as codes: in float32 the difference of two codes loses
    digits.

    Args:
        ws_NLD: where they start.
        loss: codes -> scalar.
        steps, rate: of the descent; one step ranks as the gradient does.
    """
    moved_NLD = torch.zeros_like(ws_NLD)
    for _ in range(steps):
        at_NLD = (ws_NLD + moved_NLD).detach().requires_grad_()
        (grad_NLD,) = torch.autograd.grad(loss(at_NLD), at_NLD)
        moved_NLD = moved_NLD - rate * grad_NLD
    return moved_NLD


def scores(moved_NLD: Tensor) -> Tensor:
    """Return [L]: the mean size of each entry's move."""
    return moved_NLD.abs().mean(dim=(0, 2))


def candidates(layers: Sequence[StyleLayer], layer_map: str) -> list[tuple[int, StyleLayer]]:
    """Return (entry of ws, layer) of what may be chosen.

    "derived": the convolutions, each with the entry that drives it. "published": the list
    [first convolution, first ToRGB, further convolutions] by position, which is shifted by one.
    """
    convs = [x for x in layers if x.kind == "conv"]
    if layer_map == "derived":
        return [(x.code, x) for x in convs]
    first_rgb = next(x for x in layers if x.kind == "rgb")
    return list(enumerate([convs[0], first_rgb, *convs[1:]]))


def chosen(
    layers: Sequence[StyleLayer], score_L: Tensor, count: int, layer_map: str = "derived"
) -> list[StyleLayer]:
    """Return the layers that train, at most `count`, the most relevant first."""
    listed = candidates(layers, layer_map)
    order = sorted(listed, key=lambda entry: -float(score_L[entry[0]]))
    return [layer for _, layer in order[:count]]


def parameters_of(layers: Sequence[StyleLayer], *, train_affine: bool) -> list[nn.Parameter]:
    """Return the parameters of layers, without what makes their styles unless asked for."""
    found: dict[int, nn.Parameter] = {}
    for layer in layers:
        makers = [m.style for m in layer.module.modules() if hasattr(m, "style_kind")]
        made = [p for maker in makers if isinstance(maker, nn.Module) for p in maker.parameters()]
        style = set() if train_affine else {id(p) for p in made}
        found |= {id(p): p for p in layer.module.parameters() if id(p) not in style}
    return list(found.values())
