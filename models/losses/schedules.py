"""Schedules: pure functions of `nimg`, the number of images seen, which is the only clock."""

from __future__ import annotations


def blur_sigma_px(nimg: int, init_sigma_px: float, fade_kimg: float) -> float:
    """Return the blur of D's inputs, falling linearly from init_sigma_px to 0 within fade_kimg.

    Source: StyleGAN-XL, section 3.1. A fade of 0 means no blur.
    """
    if fade_kimg <= 0:
        return 0.0
    return init_sigma_px * max(1.0 - nimg / (fade_kimg * 1000), 0.0)


def ema_half_life_nimg(nimg: int, half_life_kimg: float, ramp: float | None) -> float:
    """Return the half-life of the weight average, in images.

    Args:
        nimg: images seen.
        half_life_kimg: final half-life.
        ramp: the half-life is at most this part of nimg, so that the first weights are forgotten;
            None = no ramp.
    """
    final = half_life_kimg * 1000
    return final if ramp is None else min(final, nimg * ramp)


def ema_beta(nimg: int, batch: int, half_life_kimg: float, ramp: float | None) -> float:
    """Return the factor of the old average in one step: 0.5 ** (batch / half-life).

    0 when the half-life is 0 (the average is the weights).
    """
    half_life = ema_half_life_nimg(nimg, half_life_kimg, ramp)
    return 0.0 if half_life <= 0 else 0.5 ** (batch / half_life)


def decayed(nimg: int, total_kimg: float, decay_kimg: float) -> float:
    """Return the factor of the learning rates, in [0, 1].

    It is 1 and then falls linearly, to reach 0 where the training ends.

    Args:
        nimg: images seen, fewer than the training's.
        total_kimg: length of the training.
        decay_kimg: length of the fall; 0 = none.
    """
    if decay_kimg <= 0:
        return 1.0
    return min(1.0, max(0.0, total_kimg * 1000 - nimg) / (decay_kimg * 1000))
