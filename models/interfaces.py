"""The interfaces: what a family promises, and what the training loop may rely on.

Legend: N samples, C channels, H W pixels, D width of a text embedding, T tokens. Images are float,
NCHW, in [-1, 1]. A family is a `Recipe`; the loop sees `Networks` and `Phase`s, no "G" or "D".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

# How tiles meet: each counts less near its edge; two passes count alike; they do not overlap.
Blend = Literal["smooth", "equal", "none"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What the images are to show. Every field is optional; an unconditional family ignores all.

    pooled_ND: L2-normalised text embedding by the frozen CLIP, as it comes with the data. ids_NT:
    the caption's token ids, int64, for a model that embeds captions itself (`AlignedGenerator`).
    tokens_NTD, mask_NT: word features and their validity, for families that attend to words.
    label_N: class index, int64. picture_NCHW: what to enlarge, in [-1, 1].
    """

    pooled_ND: Tensor | None = None
    ids_NT: Tensor | None = None
    tokens_NTD: Tensor | None = None
    mask_NT: Tensor | None = None
    label_N: Tensor | None = None
    picture_NCHW: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """Apply `function` to every tensor that is present."""
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in present.items() if v is not None})

    def __getitem__(self, index: Any) -> Condition:
        return self.map(lambda x: x[index])

    def to(self, device: torch.device | str) -> Condition:
        """Move every tensor."""
        return self.map(lambda x: x.to(device, non_blocking=True))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One micro-batch; no images without `needs_data`. rivals_RD: all micro-batches' texts."""

    size: int
    condition: Condition = field(default_factory=Condition)
    image_NCHW: Tensor | None = None
    rivals_RD: Tensor | None = None
    captions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Batch:
        """Move every tensor."""
        image = None if self.image_NCHW is None else self.image_NCHW.to(device, non_blocking=True)
        return replace(self, image_NCHW=image, condition=self.condition.to(device))


class Generator(Protocol):
    """A network that makes images: noise and condition -> per-layer codes -> image.

    Some have more: `draw_noise(n, rng)`, fresh noise for `synthesize`; a parameter `centroids_MD`
    of `map`, where truncation draws to the nearest of these codes; `words` and `reader`, by which
    words of a condition's token ids are read (`models/text_to_image.py`); `synthesize_mixed(ws,
    own, style, layers)`, images whose `layers` read the words of `style`; `upscaler`, which
    enlarges pictures; `shrinks`, above 1 if it only enlarges `Condition.picture_NCHW` so much.
    """

    z_dim: int
    resolution: int

    def map(self, z_ND: Tensor, condition: Condition, truncation: float | Tensor = 1.0) -> Tensor:
        """Return the per-layer codes ws [N, num_ws, w_dim]; truncation 0 is the mean image."""

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: Any = "const") -> Tensor:
        """Return images [N, 3, resolution, resolution] in [-1, 1] (not clamped)."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """Adam, with the recipe's numbers. decay: factor -> parameters that a step first shrinks by
    so much times the learning rate (AdamW).
    """

    learning_rate: float
    beta1: float = 0.0
    beta2: float = 0.99
    eps: float = 1e-8
    decay: Mapping[float, Sequence[nn.Parameter]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What a phase's loss returns for one micro-batch.

    terms: name -> [N], already weighted; the loop minimises their sum, averaged over the GLOBAL
    batch, so that no weight depends on the micro-batch. stats: name -> [N] or scalar, detached,
    only reported.
    """

    terms: dict[str, Tensor]
    stats: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One optimizer step of one set of parameters.

    Attributes:
        name: key of the optimizer's state and prefix of the reported losses.
        parameters: nimg -> the parameters that train now; all others are frozen while the phase
            runs.
        loss: (micro-batch, nimg, rng) -> Losses. Every random draw comes from `rng`, a
            torch.Generator on the batch's device seeded by (seed, nimg, phase, micro-batch), so the
            result is a function of those alone.
        optimizer: settings of this phase's Adam.
        every: run on every k-th iteration.
        steps_of: another phase whose optimizer, moments included, takes this one's steps (a lazy
            regulariser of the same parameters); "" = an optimizer of its own.
        begin: called once before the micro-batches of a step, on every rank alike (power iteration
            lives here).
    """

    name: str
    parameters: Callable[[int], list[nn.Parameter]]
    loss: Callable[[Batch, int, torch.Generator], Losses]
    optimizer: OptimizerSettings
    every: int = 1
    steps_of: str = ""
    begin: Callable[[int], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What is watched while a model trains, and when to stop.

    every_kimg: how often. measure: averaged model -> numbers by name, all reported. stop_below:
    name -> the run ends when the number is lower, with the weights of before; 0 = never.
    """

    every_kimg: float
    measure: Callable[[nn.Module], dict[str, float]]
    stop_below: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Everything a recipe built.

    trained: name -> module that is saved, broadcast and resumed. The one named `model`
    ("generator") is averaged (EMA) and becomes the artifact. frozen: name -> module that is only
    moved to the device. A network named "discriminator" in either is kept in the artifact, and a
    frozen one named "original" is drawn beside the model. watching: None = nothing is watched.
    """

    trained: dict[str, nn.Module]
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    model: str = "generator"
    watching: Watching | None = None


@dataclass(frozen=True, kw_only=True)
class ConditionShape:
    """Widths that the data dictates, 0 = none: of the text embedding and of words, the number of
    classes, and the features that a frozen net has of each.
    """

    pooled_dim: int = 0
    token_dim: int = 0
    num_labels: int = 0
    class_dim: int = 0


@dataclass(frozen=True, kw_only=True)
class Start:
    """The artifact a stage starts from: its card.json, the EMA weights by name, likewise the
    discriminator's if kept, and those of a text encoder of its own.
    """

    card: Mapping[str, Any]
    generator: Mapping[str, Tensor]
    discriminator: Mapping[str, Tensor] | None = None
    text_encoder: Mapping[str, Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A base and an upsampler as one generator: what an artifact of it needs."""

    recipe: Recipe
    resolution: int
    shape: ConditionShape
    generator: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class ClassTable:
    """What a frozen net knows of the data's classes, in the data's order.

    feature_KE: mean pooled features of each class' own images. logit_K: which of the net's logits
    stands for each class, int64; None for a net that was trained on other classes, or on none.
    """

    feature_KE: Tensor
    logit_K: Tensor | None = None


def no_classes(role: str) -> ClassTable | None:
    """Stand where a net is asked for classes that the data does not have."""


def no_pictures(folder: str) -> list[Tensor]:
    """Stand where no pictures can be read."""
    raise ValueError(f"pictures of {folder!r} are wanted, but nothing reads pictures here")


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a recipe builds: what the data and the stage decide, not the recipe's fields.

    encoder: role ("clip", "dino", "classifier", ...) -> frozen feature net, loaded once per call
    site. classes: role -> what that net knows of the data's classes, None if nothing. label_names:
    of the data's classes, in its order. pictures: a folder that a field names -> its pictures, each
    [1, 3, H, W] in [-1, 1].
    """

    resolution: int
    shape: ConditionShape
    encoder: Callable[[str], nn.Module]
    start: Start | None = None
    classes: Callable[[str], ClassTable | None] = no_classes
    label_names: tuple[str, ...] = ()
    pictures: Callable[[str], list[Tensor]] = no_pictures


class Recipe(Protocol):
    """A family: a frozen keyword-only dataclass whose fields are its hyper-parameters.

    Class constants: `name`; `tunable`, field -> (low, high) with the most useful first;
    `needs_data`. Only some have `norm_batch`: samples that share batch-norm statistics at most;
    `adapts`: it changes a model of another family, whose name and fields go into its field
    `parent`; `picture_folders`, that it will ask `Site.pictures` for; `stream(site)`: conditions
    where no data is needed; `reads_words` of the frozen text tower ("penultimate", "last", "" =
    none); `compares_captions`, so that a batch brings `rivals_RD`; `start_misfits(fields, px)`: as
    `misfits`, for a stage of more pixels that starts from an artifact with these fields and this
    resolution; `joined(base, upsampler)`, a `Joined` of two artifacts, each a `Start`, or
    ValueError; `shrinks`, as a Generator.
    """

    name: ClassVar[str]
    tunable: ClassVar[dict[str, tuple[float, float]]]
    needs_data: ClassVar[bool]

    @property
    def grows(self) -> bool:
        """Whether a stage may start from a lower resolution; a constant where no field decides."""

    @property
    def encoder_roles(self) -> tuple[str, ...]:
        """The frozen nets that `build` will ask for, with these fields."""

    def misfits(self, condition: str, resolution: int | None = None) -> dict[str, str]:
        """Return field -> what is wrong with it for data whose condition is "text", "label" or
        "none", and for images of that size if given; {} = all is well. Asked before anything runs,
        and where torch is not loaded.
        """

    def generator(self, resolution: int, shape: ConditionShape) -> nn.Module:
        """Return a fresh generator: what an artifact of this family is loaded into."""

    def build(self, site: Site) -> Networks:
        """Return all networks, warm-started from `site.start` if given."""

    def phases(self, networks: Networks) -> list[Phase]:
        """Return the phases of one iteration, in order."""


class RunningStatistic(Protocol):
    """A module whose buffer follows the data seen, kept equal on all ranks.

    Forward passes only gather; the loop calls `commit` once per phase.
    """

    def commit(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Fold what was gathered since the last commit, summed over ranks, into the buffer."""


class WeightStatistic(RunningStatistic, Protocol):
    """A running statistic that averaged weights, say, need of their own (a batch norm's)."""

    def settle(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Replace the buffer by what was gathered, instead of folding it in."""
