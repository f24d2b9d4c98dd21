"""Join a base and an upsampler, two artifacts of their own, to a cascade; or add one to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.interfaces import ConditionShape, Joined, Start
from models.warm_start import check_family

# Fields by which an upsampler reads its text, which a cascade has once for both.
SHARED = (
    "words",
    "cross_attention",
    "text_width",
    "text_heads",
    "text_mixing",
    "mask_padding",
)
# Those of an upsampler's training: the cascade goes on with them.
TRAINING = ("perceptual_weight", "perceptual_encoder")
# Those of an upsampler's training that are of no use where it is not the first.
OF_THE_FIRST = ("up_noise", "up_base_share", "up_learning_rate")
UPSAMPLER, BASE, FURTHER = "upsampler.", "base.", "further."


def joined(recipe: Any, base: Start, upsampler: Start) -> Joined:
    """Return the cascade of a base of this recipe and an upsampler.

    A base that is a cascade gets one upsampler more; of an upsampler that is a cascade all its
    upsamplers are taken.

    Raises:
        ValueError: another family, a base that is none, sizes that do not meet, or an upsampler
            that reads its text in another way than the base.
    """
    check_family(upsampler.card, recipe.name)
    theirs = type(recipe)(**_frozen(upsampler.card["recipe"]["fields"]))
    if recipe.parts == "upsampler":
        raise ValueError("the base is a model of parts upsampler: give one of parts base")
    if theirs.parts == "base":
        raise ValueError("the upsampler is a base: give one of parts upsampler or cascade")
    small = base.card["resolution_px"]
    if small != theirs.base_px:
        raise ValueError(
            f"the base makes {small} px and the upsampler takes {theirs.base_px} px: give two that "
            "meet"
        )
    shape = ConditionShape(**base.card["shape"])
    told = _is_told(recipe, theirs, shape, ConditionShape(**upsampler.card["shape"]))
    added = [_own_fields(one, told) for one in theirs.upsamplers()]
    if recipe.parts == "base":
        first, *later = added
        training = {name: getattr(theirs, name) for name in TRAINING + OF_THE_FIRST}
        made = dataclasses.replace(
            recipe, parts="cascade", base_px=small, **training, **first, further=tuple(later)
        )
        tensors = {BASE + name: x for name, x in base.generator.items()}
    else:
        made = dataclasses.replace(recipe, further=(*recipe.further, *added))
        tensors = dict(base.generator)
    have = len(recipe.upsamplers()) if recipe.parts == "cascade" else 0
    return Joined(
        recipe=made,
        resolution=upsampler.card["resolution_px"],
        shape=shape,
        generator=tensors | _placed(upsampler.generator, theirs.parts, have),
    )


def _own_fields(recipe: Any, told: bool) -> dict[str, Any]:
    """Return the fields that an upsampler's network is made of, none left to another field."""
    names = [field.name for field in dataclasses.fields(recipe) if field.name.startswith("up_")]
    return {name: getattr(recipe, name) for name in names if name not in OF_THE_FIRST} | {
        "up_text": told and recipe.up_text,
        "up_z_dim": recipe.up_z_dim or recipe.z_dim,
        "up_head_dim": recipe.up_head_dim or recipe.head_dim,
    }


def _placed(tensors: Mapping[str, Tensor], parts: str, have: int) -> dict[str, Tensor]:
    """Return the tensors of all upsamplers of a model under a cascade's names, after the `have`
    upsamplers that it has.
    """

    def prefix(index: int) -> str:
        return f"{FURTHER}{index - 1}." if index else UPSAMPLER

    if parts == "upsampler":
        return {prefix(have) + name: x for name, x in tensors.items()}
    placed = {}
    for name, x in tensors.items():
        if name.startswith(UPSAMPLER):
            placed[prefix(have) + name.removeprefix(UPSAMPLER)] = x
        elif name.startswith(FURTHER):
            number, _, rest = name.removeprefix(FURTHER).partition(".")
            placed[prefix(have + 1 + int(number)) + rest] = x
    return placed


def _is_told(recipe: Any, theirs: Any, shape: ConditionShape, shown: ConditionShape) -> bool:
    """Whether an upsampler reads a text or a class; ValueError where it reads another one."""
    if shown == ConditionShape() or not any(one.up_text for one in theirs.upsamplers()):
        return False
    if shown != shape:
        raise ValueError(
            f"the base is told {_words(shape)} and the upsampler {_words(shown)}: give two that "
            "were trained on the same text"
        )
    differ = [name for name in SHARED if getattr(recipe, name) != getattr(theirs, name)]
    if differ:
        raise ValueError(
            f"base and upsampler differ in {', '.join(differ)}, by which a cascade reads its text"
        )
    return True


def _words(shape: ConditionShape) -> str:
    sizes = {k: v for k, v in dataclasses.asdict(shape).items() if v}
    return ", ".join(f"{name} {size}" for name, size in sizes.items()) or "nothing"


def _frozen(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a card's fields, its lists as the tuples of a recipe."""
    return {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}
