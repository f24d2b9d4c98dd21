"""The request to an importer, and its answer; each family's answers are in its own file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.interfaces import ConditionShape
from models.interop.foreign_network import ForeignNetwork

FILTER_SHAPE = (4, 4)  # [1, 3, 3, 1] by itself


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user says about a checkpoint: what it cannot say itself.

    Attributes:
        resolution: of the images, in pixels; 0 = see the checkpoint.
        num_labels: classes; 0 = see the checkpoint.
        network: name of the generator in a file of several; '' = the averaged one.
        config: the config.json beside the file; None = there is none.
        licence: under which the file came; '' = not told.
    """

    resolution: int = 0
    num_labels: int = 0
    network: str = ""
    config: Path | None = None
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A generator as a family of ours builds it.

    Attributes:
        recipe: name of the family in `models.families`.
        fields: of the recipe, as far as the checkpoint decides them.
        resolution: of the images, in pixels.
        shape: what the images are conditioned on.
        assumed: what the checkpoint does not tell and was taken as published, in words.
    """

    recipe: str
    fields: dict[str, Any]
    resolution: int
    shape: ConditionShape
    assumed: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One network of ours, how it is made and filled.

    Attributes:
        fields: of the recipe, that this network decides.
        build: makes it, of the right sizes.
        load: puts the authors' tensors into it; ValueError where they do not fit.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    build: Callable[[], nn.Module]
    load: Callable[[Any, Mapping[str, Tensor]], None]


@dataclass(frozen=True, kw_only=True)
class Importer:
    """How checkpoints of one published generator become ours.

    Attributes:
        title: of the network, in words.
        matches: whether tensors of these names are this network's.
        sizes: what the tensors' shapes and the facts say.
        load: puts the authors' tensors into our module; ValueError where they do not fit.
        discriminator: ours that corresponds to the authors'; ValueError says why there is none.
        text_encoder: our text encoder with the checkpoint's own weights; None without.
        licence: what is known of the file's licence, where the user has to say it; '' = is not
            asked for.
    """

    title: str
    matches: Callable[[Iterable[str]], bool]
    sizes: Callable[[ForeignNetwork, Asked], Sizes]
    load: Callable[[Any, Mapping[str, Tensor]], None]
    discriminator: Callable[[ForeignNetwork, Sizes], Part]
    text_encoder: Callable[[ForeignNetwork, Sizes], nn.Module | None] = lambda network, sizes: None
    licence: str = ""


def no_discriminator(why: str) -> Callable[[ForeignNetwork, Sizes], Part]:
    """Return an `Importer.discriminator` that always refuses: ours has none for the authors'."""

    def refuse(network: ForeignNetwork, sizes: Sizes) -> Part:
        raise ValueError(why)

    return refuse


def check_published(network: ForeignNetwork, published: Mapping[str, Any]) -> None:
    """Hold what a snapshot says of a network's constants against the ones that ours has.

    Args:
        network: whose facts count; a state dict has none.
        published: name of a fact -> its value.

    Raises:
        ValueError: a fact is another.
    """
    for name, wanted in published.items():
        found = network.facts.get(name, wanted)
        if found != wanted:
            raise ValueError(f"{name} is {str(found)[:40]}: ours is the published {wanted}")
    for name, tensor in network.tensors.items():
        if name.endswith("resample_filter") and tuple(tensor.shape) != FILTER_SHAPE:
            raise ValueError(f"{name} is {list(tensor.shape)}: ours has the published four taps")


def block_widths(widths: Mapping[int, int]) -> dict[str, int]:
    """Return channel_base and channel_max of widths min(channel_base // r, channel_max).

    Args:
        widths: resolution -> channels.

    Raises:
        ValueError: no such rule gives them.
    """
    largest = max(widths.values())
    base = max(r * width for r, width in widths.items())
    if any(min(base // r, largest) != width for r, width in widths.items()):
        shown = ", ".join(f"{r} px {width}" for r, width in sorted(widths.items()))
        raise ValueError(f"widths that follow no rule of ours: {shown}")
    return {"channel_base": base, "channel_max": largest}


def first_number(*values: Any, otherwise: float) -> float:
    """Return the first value that is a number of a usual size; a fact may be anything."""
    for value in values:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and abs(value) < 2**53:  # neither infinite nor NaN
            return value
    return otherwise


def mean_beta(network: ForeignNetwork) -> dict[str, Any]:
    """Return the field of w's running mean, {} where the snapshot does not tell its decay."""
    beta = network.fact("mapping.w_avg_beta", "init.mapping_kwargs.w_avg_beta")
    return {"mean_beta": beta} if isinstance(beta, float) else {}
