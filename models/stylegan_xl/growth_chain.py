"""Find out how an alias-free generator grew, from the names of its layers and its filters.

A snapshot holds the last head's arguments and a path to the stem's file, but the layers of all
stages. Their names say number, size and width; wide networks have the same width everywhere, so the
filters, which follow from the cutoffs, decide where names do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.layers.lowpass import kaiser_lowpass
from models.stylegan_xl.alias_free_plan import BandRules, LayerPlan, num_kept
from models.stylegan_xl.names import published_names

FEWEST, MOST = 3, 40  # convolutions of a stem or of a head that are tried
FILTER_TAPS, OVERSAMPLING = 6, 2  # as published: taps per unit, rate of the activations


@dataclass(frozen=True)
class Growth:
    """A stem and the heads (resolution, convolutions) that were put on it."""

    stem_px: int
    stem_layers: int
    heads: tuple[tuple[int, int], ...]


def find_growth(rules: BandRules, names: Sequence[str], filters: Mapping[str, Tensor]) -> Growth:
    """Return the growth whose plan has these layers.

    Args:
        rules: of the bands.
        names: of the layers by their authors, in order.
        filters: name of a layer -> taps of its upsampling; those that are missing do not count.

    Raises:
        ValueError: no growth gives them.
    """
    seen = _Seen(list(names), filters)
    size = 4
    while size <= seen.resolution:
        for num_layers in range(FEWEST, MOST + 1):
            try:
                plans = [rules.stem(size, num_layers)]
            except ValueError:
                continue
            for heads in _heads(rules, plans, (), seen):
                return Growth(size, num_layers, heads)
        size *= 2
    raise ValueError(
        f"its layers ({names[0]} to {names[-1]}) are those of no stem and heads with the cutoffs "
        f"of channel_base {rules.channel_base} and channel_max {rules.channel_max}"
    )


@dataclass(frozen=True)
class _Seen:
    """What a checkpoint shows of its layers."""

    names: list[str]
    filters: Mapping[str, Tensor]

    @property
    def resolution(self) -> int:
        return int(self.names[-1].split("_")[1])

    def agrees(self, plans: list[list[LayerPlan]], count: int) -> bool:
        """Say whether the first layers of the last plan are these."""
        if published_names(plans)[:count] != self.names[:count]:
            return False
        named = zip(self.names[:count], plans[-1], strict=False)
        return all(self._same_filter(name, layer) for name, layer in named)

    def _same_filter(self, name: str, layer: LayerPlan) -> bool:
        stored = self.filters.get(name)
        if stored is None or layer.is_rgb:
            return True
        before = layer.before
        high = max(before.rate, layer.after.rate) * OVERSAMPLING
        taps = kaiser_lowpass(
            FILTER_TAPS * (high // before.rate),
            cutoff=before.cutoff,
            half_width=before.half_width,
            rate=high,
        ).float()
        return taps.shape == stored.shape and torch.allclose(taps, stored, rtol=0, atol=1e-5)


def _heads(
    rules: BandRules,
    plans: list[list[LayerPlan]],
    heads: tuple[tuple[int, int], ...],
    seen: _Seen,
) -> Iterator[tuple[tuple[int, int], ...]]:
    """Yield every list of heads that leads from the last plan to the layers seen."""
    plan = plans[-1]
    size = plan[-1].after.size
    if size == seen.resolution:
        if len(plan) == len(seen.names) and seen.agrees(plans, len(plan)):
            yield heads
        return
    kept = num_kept(plan)
    if kept >= len(seen.names) or not seen.agrees(plans, kept):
        return
    for factor in (2, 4, 8, 16):
        larger = size * factor
        for num_layers in range(FEWEST, min(MOST, len(seen.names) - kept - 1) + 1):
            if larger > seen.resolution:
                break
            try:
                grown = rules.grow(plan, larger, num_layers)
            except ValueError:
                continue
            yield from _heads(rules, [*plans, grown], (*heads, (larger, num_layers)), seen)
