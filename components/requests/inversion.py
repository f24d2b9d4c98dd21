"""Parameters of an inversion: the search for a code, and the tuning of the generator around it.

Needs no torch, so a bad request is answered at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from components.errors import ConfigError
from components.requests.images import check_seed

Layers = Literal["one", "each"]
STEPS_LIMIT = 100_000


@dataclass(frozen=True, kw_only=True)
class InversionConfig:
    """Defaults are those of Karras et al. 2020 (arXiv 1912.04958, appendix D), and of pivotal
    tuning as Sauer et al. 2022 run it. Raises ConfigError when a field is not allowed.

    Attributes:
        steps: of Adam on the code.
        layers: one code for all layers, which stays close to what the generator knows, or one for
            each, which comes closer to the image and mixes worse.
        learning_rate: the highest.
        ramp_up, ramp_down: share of the steps in which it rises from 0, and falls to 0 by a cosine.
        noise: of the code, at the start, in units of the codes' distance to their mean.
        noise_share: share of the steps in which the noise falls to 0.
        samples: codes that mean and distance are taken of.
        candidates: drawn codes that are tried as a start, beside the mean.
        seed: of samples, candidates and noise.
        pivotal_steps: of Adam on the weights around the code found; 0 = none. Published: 350.
        pivotal_learning_rate: of those.
        feature_weight, pixel_weight: of the distance's two terms.
    """

    steps: int = 1000
    layers: Layers = "one"
    learning_rate: float = 0.1
    ramp_up: float = 0.05
    ramp_down: float = 0.25
    noise: float = 0.05
    noise_share: float = 0.75
    samples: int = 10_000
    candidates: int = 64
    seed: int = 0
    pivotal_steps: int = 0
    pivotal_learning_rate: float = 3e-4
    feature_weight: float = 1.0
    pixel_weight: float = 1.0

    def __post_init__(self) -> None:
        _check(self.steps, "--steps", 1, STEPS_LIMIT)
        _check(self.pivotal_steps, "--pivotal", 0, STEPS_LIMIT)
        _check(self.samples, "samples", 2, 1_000_000)
        _check(self.candidates, "candidates", 0, 10_000)
        for name in ("ramp_up", "ramp_down", "noise", "noise_share"):
            _check(getattr(self, name), name, 0, 1)
        for name in ("learning_rate", "pivotal_learning_rate", "feature_weight", "pixel_weight"):
            _check(getattr(self, name), name, 0, 1000)
        if self.layers not in get_args(Layers):
            raise ConfigError(f"layers is {self.layers!r}", "--layers", "use one or each")
        check_seed(self.seed)


def _check(value: Any, name: str, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN too
        raise ConfigError(f"{name} is {value}", name, f"use {low:g} to {high:g}")
