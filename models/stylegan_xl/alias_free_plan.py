"""The plan of the alias-free layers: the frequencies that each passes, its rate, size and width.

By Karras et al. 2021, section 3.3 and appendix C; and how StyleGAN-XL continues such a list by a
super-resolution head.

Rates and frequencies are per image side: at rate s an image has s pixels, and a layer's features
have a margin beyond the image on each side, so that nothing is learnt from the border.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Band:
    """The signal between two layers.

    Attributes:
        cutoff: frequencies below it pass.
        stopband: frequencies above it are to be gone.
        half_width: of the filter's transition band.
        rate: samples per image side, a power of two.
        size: rate and two margins, or the image's side.
        channels: width.
    """

    cutoff: float
    stopband: float
    half_width: float
    rate: int
    size: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """One layer: from which signal to which; critical = no room above its output's cutoff."""

    before: Band
    after: Band
    critical: bool
    is_rgb: bool


@dataclass(frozen=True, kw_only=True)
class BandRules:
    """The constants of the published tables. -t: the defaults; -r doubles both widths.

    Attributes:
        channel_base: a signal of cutoff f has min(channel_base / 2 / f, channel_max) channels.
        channel_max: see above.
        num_critical: last layers before ToRGB whose cutoff is the image's own limit.
        first_cutoff, first_stopband: of the input.
        last_stopband_ratio: of the last stopband to the last cutoff.
        margin_px: on each side.
        image_channels: of the image.
    """

    channel_base: int = 32768
    channel_max: int = 512
    num_critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_ratio: float = 2**0.3
    margin_px: int = 10
    image_channels: int = 3

    def stem(self, resolution: int, num_layers: int) -> list[LayerPlan]:
        """Return num_layers convolutions and ToRGB, from the input to an image of `resolution`.

        Raises:
            ValueError: a resolution or a number of layers that cannot be built.
        """
        if resolution < 4 or resolution & (resolution - 1):
            raise ValueError(f"resolution must be a power of two from 4, got {resolution}")
        # The first signal goes by the same formulas as the others.
        bands = self._bands(self.first_cutoff, self.first_stopband, resolution, num_layers, None)
        return self._layers(bands)

    def grow(self, plan: Sequence[LayerPlan], resolution: int, num_layers: int) -> list[LayerPlan]:
        """Return the plan without its critical layers, continued by a head to `resolution`.

        Args:
            plan: of a network that makes smaller images.
            resolution: 2, 4, 8 or 16 times as much.
            num_layers: convolutions of the head.

        Raises:
            ValueError: a factor or a number of layers that cannot be built.
        """
        before = plan[-1].after.size
        if resolution not in [before * factor for factor in (2, 4, 8, 16)]:
            raise ValueError(
                f"a head makes images 2, 4, 8 or 16 times as large: from {before} px, "
                f"{resolution} px is none of them"
            )
        kept = plan[: num_kept(plan)]
        if not kept:
            raise ValueError("every layer of the stem is critical: give the stem more layers")
        last = kept[-1].after
        bands = self._bands(
            last.cutoff, last.cutoff + last.half_width, resolution, num_layers, last
        )
        return [*kept, *self._layers(bands)]

    def _bands(
        self,
        first_cutoff: float,
        first_stopband: float,
        resolution: int,
        num_layers: int,
        first: Band | None,
    ) -> list[Band]:
        """Return the signals after layers 0 ... num_layers; `first` is what a stem hands over."""
        ramp = num_layers - self.num_critical
        if ramp < 1:
            raise ValueError(
                f"{num_layers} layers are too few: at least {self.num_critical + 1} are needed, "
                f"since the last {self.num_critical} are critical"
            )
        last_cutoff = resolution / 2
        last_stopband = last_cutoff * self.last_stopband_ratio
        bands = []
        for i in range(num_layers + 1):
            exponent = min(i / ramp, 1.0)
            cutoff = first_cutoff * (last_cutoff / first_cutoff) ** exponent
            stopband = first_stopband * (last_stopband / first_stopband) ** exponent
            rate = 2 ** math.ceil(math.log2(min(2 * stopband, resolution)))
            channels = round(min(self.channel_base / 2 / cutoff, self.channel_max))
            if first is not None and i == 0:
                rate, channels = first.rate, first.channels
            if channels < 1:
                raise ValueError(
                    f"no channels are left at {resolution} px: channel_base is "
                    f"{self.channel_base}; raise it"
                )
            bands.append(
                Band(
                    cutoff=cutoff,
                    stopband=stopband,
                    half_width=max(stopband, rate / 2) - cutoff,
                    rate=rate,
                    size=resolution if i >= num_layers - 1 else rate + 2 * self.margin_px,
                    channels=self.image_channels if i == num_layers else channels,
                )
            )
        return bands

    def _layers(self, bands: list[Band]) -> list[LayerPlan]:
        """Return the layers whose outputs the bands are; the first keeps its input's band."""
        last = len(bands) - 1
        return [
            LayerPlan(
                before=bands[max(i - 1, 0)],
                after=band,
                critical=i >= last - self.num_critical,
                is_rgb=i == last,
            )
            for i, band in enumerate(bands)
        ]


def num_kept(plan: Sequence[LayerPlan]) -> int:
    """Return how many leading layers growth keeps: those that are not critical."""
    return next((i for i, layer in enumerate(plan) if layer.critical), len(plan))
