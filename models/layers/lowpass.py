"""Low-pass filters with a Kaiser window, designed in float64 (Karras et al. 2021, section 3.2).

A filter is described by its cutoff and the half width of its transition band, in the units of its
sampling rate: the alias-free layers ask for "pass up to fc, stop from fc + fh".
"""

from __future__ import annotations

import math

import torch
from scipy import special
from torch import Tensor


def kaiser_lowpass(num_taps: int, *, cutoff: float, half_width: float, rate: float) -> Tensor:
    """Return [num_taps] float64, a windowed sinc of unit gain at zero frequency.

    Args:
        num_taps: length; 1 gives the identity.
        cutoff: frequency of half amplitude.
        half_width: of the transition band, around the cutoff.
        rate: samples per unit.
    """
    if num_taps == 1:
        return torch.ones(1, dtype=torch.float64)
    position = _positions(num_taps)
    taps = torch.sinc(2 * cutoff / rate * position) * _kaiser(num_taps, half_width, rate)
    return taps / taps.sum()


def radial_lowpass(num_taps: int, *, cutoff: float, half_width: float, rate: float) -> Tensor:
    """Return [num_taps, num_taps] float64: a jinc, which passes a disc of frequencies, no square.

    Args: as in `kaiser_lowpass`; num_taps is even, so that no tap lies on the singular centre.

    Raises:
        ValueError: an odd length.
    """
    if num_taps % 2:
        raise ValueError(f"a radial filter has an even number of taps, got {num_taps}")
    position = _positions(num_taps) / rate
    radius = torch.hypot(position[:, None], position[None, :])
    # scipy's Bessel function: torch's is wrong in the ninth digit, also in float64.
    waves = torch.from_numpy(special.j1((2 * math.pi * cutoff * radius).numpy()))
    taps = waves / (math.pi * radius)
    window = _kaiser(num_taps, half_width, rate)
    taps = taps * torch.outer(window, window)
    return taps / taps.sum()


def _positions(num_taps: int) -> Tensor:
    """Return the distance of each tap from the centre, in samples."""
    # On the CPU whatever the default device is: filters are constants, also of a meta network.
    steps = torch.arange(num_taps, dtype=torch.float64, device="cpu")
    return steps - (num_taps - 1) / 2


def _kaiser(num_taps: int, half_width: float, rate: float) -> Tensor:
    """Return the Kaiser window whose transition band is 2 half_width wide.

    Kaiser's empirical formulas: the attenuation in dB that so many taps can reach at that width,
    and the shape parameter for that attenuation.
    """
    width = 2 * half_width / (rate / 2)
    attenuation = 2.285 * (num_taps - 1) * math.pi * width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation > 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    inside = 1 - (2 * _positions(num_taps) / (num_taps - 1)).square()
    shape = torch.tensor(beta, dtype=torch.float64, device="cpu")
    return torch.special.i0(beta * inside.sqrt()) / torch.special.i0(shape)
