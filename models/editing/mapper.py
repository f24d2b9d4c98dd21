"""Latent mappers: small networks from a code to a change of the code (Patashnik et al. 2021, 5).

Legend: N samples, L entries of ws, D width of w, C channels of a style.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.layers.equalized import EqualizedLinear

Norm = Literal["channels", "rows"]
"""What a mapper scales its input by: each entry's own channels, or each channel's values over the
entries of its group. Published mappers do the latter, which makes of a code that is the same in
all entries nothing but signs; they are useless with the former."""

STEP = 0.1  # by which a mapper's output is added to the code
NUM_LAYERS, LR_MULTIPLIER = 4, 0.01
EPS = 1e-8


class Perceptron(nn.Module):
    """Scale to unit mean square, then four equalised layers with leaky ReLU.

    Args:
        width: of input and output.
        norm: see `Norm`.
    """

    def __init__(self, width: int, norm: Norm = "channels") -> None:
        super().__init__()
        self.axis = 1 if norm == "rows" else -1
        self.layers = nn.ModuleList(
            EqualizedLinear(width, width, lr_multiplier=LR_MULTIPLIER, leaky=True)
            for _ in range(NUM_LAYERS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the change, of x's shape: [N, L, D], or [N, C]."""
        x = x * (x.square().mean(dim=self.axis, keepdim=True) + EPS).rsqrt()
        for layer in self.layers:
            x = layer(x)
        return x


class LatentMapper(nn.Module):
    """Codes to changes of codes, one perceptron for each group of entries.

    Args:
        width: D.
        groups: name -> first entry and the one after the last; entries in no group do not change.
        norm: see `Norm`.
    """

    def __init__(
        self, width: int, groups: Mapping[str, tuple[int, int]], norm: Norm = "channels"
    ) -> None:
        super().__init__()
        self.width, self.norm = width, norm
        self.entries = dict(groups)
        self.groups = nn.ModuleDict({name: Perceptron(width, norm) for name in groups})

    def forward(self, ws_NLD: Tensor) -> Tensor:
        """Return the change [N, L, D] at step 1."""
        parts = torch.zeros_like(ws_NLD).unbind(dim=1)
        rows = list(parts)
        for name, (start, stop) in self.entries.items():
            stop = min(stop, ws_NLD.shape[1])
            if start < stop:
                rows[start:stop] = self.groups[name](ws_NLD[:, start:stop]).unbind(dim=1)
        return torch.stack(rows, dim=1)

    def edit(self, ws_NLD: Tensor, strength: float = 1.0) -> Tensor:
        """Return the edited codes; strength 1 is the published step."""
        edited: Tensor = ws_NLD + STEP * strength * self(ws_NLD)
        return edited


class StyleMapper(nn.Module):
    """Styles to changes of styles, one perceptron for each style that changes.

    Args:
        widths: name of a style -> C, of those that change. A file that names no network has places
            in the order in which the layers run: "00", "02", ...
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.widths = dict(widths)
        self.groups = nn.ModuleList(Perceptron(width) for width in widths.values())

    def forward(self, styles: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return name -> change [N, C] at step 1, 0 for styles that do not change."""
        changes = {name: torch.zeros_like(x) for name, x in styles.items()}
        for name, group in zip(self.widths, self.groups, strict=True):
            changes[name] = group(styles[name])
        return changes

    def edit(self, styles: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
        """Return the edited styles, name -> [N, C]; strength 1 is the published step."""
        return {name: styles[name] + STEP * strength * x for name, x in self(styles).items()}


def by_place(values: Iterable[Any]) -> dict[str, Any]:
    """Return "00", "01", ... -> value, the names of a mapper's styles where no network is named."""
    return {f"{place:02d}": value for place, value in enumerate(values)}


def level_groups(num_ws: int, levels: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Return coarse, medium and fine entries: four, four and the rest, as published at 1024 px.

    Networks of fewer than twelve entries are cut in the same proportion (4 : 4 : 10).

    Args:
        num_ws: L.
        levels: which of them; () = all.
    """
    first, second = (4, 8) if num_ws >= 12 else (round(num_ws * 4 / 18), round(num_ws * 8 / 18))
    first, second = max(first, 1), max(second, 2)
    cuts = {"coarse": (0, first), "medium": (first, second), "fine": (second, num_ws)}
    return {name: cut for name, cut in cuts.items() if name in levels or not levels}
