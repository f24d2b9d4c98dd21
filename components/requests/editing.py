"""Parameters of edits by text: the search for a code, a mapper's training, the sweep of channels.

Needs no torch, so a bad request is answered at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from components.errors import ConfigError
from components.requests.images import check_seed

Space = Literal["w", "w+", "s"]
Level = Literal["coarse", "medium", "fine"]
STEPS_LIMIT = 1_000_000
STARTS_LIMIT = 100


@dataclass(frozen=True, kw_only=True)
class OptimiseConfig:
    """Latent optimisation; defaults are those of Patashnik et al. 2021, section 4. Raises
    ConfigError when a field is not allowed.

    Attributes:
        space: one code for all layers, one for each, or the styles of the convolutions.
        steps: of Adam, of each start.
        starts: searches from places near the code; of each image the best one counts. Published: 1.
        learning_rate: the highest.
        clip_weight: of the image's distance to the text; published: 1.
        direction_weight: of 1 minus the cosine of the way that CLIP saw the image go with the way
            from the text before to the text after (Gal et al. 2021). A text that tells of one thing
            alone asks for nothing else then.
        distance_weight: of the sum of squares between code and start.
        identity_weight: of the distance between the features of both images.
    """

    space: Space = "w+"
    steps: int = 300
    starts: int = 1
    learning_rate: float = 0.1
    clip_weight: float = 1.0
    direction_weight: float = 0.0
    distance_weight: float = 0.008
    identity_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.space not in get_args(Space):
            raise ConfigError(f"space is {self.space!r}", "--space", "use w, w+ or s")
        check_range(self.steps, "--steps", 1, STEPS_LIMIT)
        check_range(self.starts, "--starts", 1, STARTS_LIMIT)
        weights = ("clip_weight", "direction_weight", "distance_weight", "identity_weight")
        for name in ("learning_rate", *weights):
            check_range(getattr(self, name), f"--{name.replace('_', '-')}", 0, 1000)


@dataclass(frozen=True, kw_only=True)
class MapperConfig:
    """A latent mapper's training; defaults are those of Patashnik et al. 2021, section 5, but for
    far fewer steps and so a higher rate: at theirs, 400 steps change nothing. Raises ConfigError as
    above.

    Attributes:
        levels: groups of layers that change; () = all three.
        steps, batch: of the optimizer; published: 50,000 of 2.
        learning_rate: of Ranger; published: 0.5, for their 50,000 steps.
        clip_weight, distance_weight, identity_weight, norm_weight: of the terms; the last is of the
            embeddings' lengths, against artefacts (Gal et al. 2021).
        direction_weight: as for a search.
        codes: drawn once, that it trains on.
        psi: their truncation.
        seed: of the codes.
        save_every: steps between states to go on from.
    """

    levels: tuple[Level, ...] = ()
    steps: int = 400
    batch: int = 4
    learning_rate: float = 20.0
    clip_weight: float = 1.0
    distance_weight: float = 0.8
    identity_weight: float = 0.0
    norm_weight: float = 0.0
    direction_weight: float = 0.0
    codes: int = 5000
    psi: float = 0.7
    seed: int = 0
    save_every: int = 200

    def __post_init__(self) -> None:
        unknown = [x for x in self.levels if x not in get_args(Level)]
        if unknown or len(set(self.levels)) != len(self.levels):
            todo = f"use each of {', '.join(get_args(Level))} once at most"
            raise ConfigError(f"levels are {', '.join(self.levels)}", "--levels", todo)
        check_range(self.steps, "--steps", 1, STEPS_LIMIT)
        check_range(self.batch, "--batch", 1, 1024)
        check_range(self.codes, "--codes", self.batch, 1_000_000)
        check_range(self.save_every, "save_every", 1, STEPS_LIMIT)
        check_range(self.psi, "--psi", -2, 2)
        weights = ("clip_weight", "distance_weight", "identity_weight", "norm_weight")
        for name in (*weights, "direction_weight", "learning_rate"):
            check_range(getattr(self, name), f"--{name.replace('_', '-')}", 0, 1000)
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """The sweep of style channels; defaults are those of Patashnik et al. 2021, section 6, but for
    fewer codes and images. Raises ConfigError as above.

    Attributes:
        codes: that each channel's mean and deviation are taken of; published: 100,000.
        images: on which each channel is moved; published: 100.
        deviations: how far, to both sides of its mean.
        psi: truncation of the codes.
        seed: of the codes.
        batch: images at once.
    """

    codes: int = 2000
    images: int = 16
    deviations: float = 5.0
    psi: float = 0.7
    seed: int = 0
    batch: int = 32

    def __post_init__(self) -> None:
        check_range(self.codes, "--codes", 2, 1_000_000)
        check_range(self.images, "--images", 1, min(self.codes, 10_000))
        check_range(self.deviations, "deviations", 0.01, 100)
        check_range(self.psi, "--psi", -2, 2)
        check_range(self.batch, "--batch", 1, 4096)
        check_seed(self.seed)


def check_range(value: Any, name: str, low: float, high: float) -> None:
    """Raise ConfigError unless low <= value <= high."""
    if not low <= value <= high:  # NaN too
        raise ConfigError(f"{name.lstrip('-')} is {value}", name, f"use {low:g} to {high:g}")
