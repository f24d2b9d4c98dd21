"""Join a base and an upsampler, two artifacts of their own, to a cascade."""

from __future__ import annotations

import dataclasses
from typing import Any

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
UPSAMPLER, BASE = "upsampler.", "base."


def joined(recipe: Any, base: Start, upsampler: Start) -> Joined:
    """Return the cascade of a base of this recipe and an upsampler, or the upsampler of a cascade.

    Raises:
        ValueError: another family, a base that is none, sizes that do not meet, or an upsampler
            that reads its text in another way than the base.
    """
    check_family(upsampler.card, recipe.name)
    theirs = type(recipe)(**_frozen(upsampler.card["recipe"]["fields"]))
    if recipe.parts != "base":
        raise ValueError(f"the base is a model of parts {recipe.parts}: give one of parts base")
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
    own = {
        field.name: getattr(theirs, field.name)
        for field in dataclasses.fields(theirs)
        if field.name.startswith("up_") or field.name in TRAINING
    }
    own |= {
        "up_text": told,
        "up_z_dim": theirs.up_z_dim or theirs.z_dim,
        "up_head_dim": theirs.up_head_dim or theirs.head_dim,
    }
    tensors = dict(upsampler.generator)
    if theirs.parts == "cascade":
        tensors = {
            name.removeprefix(UPSAMPLER): x
            for name, x in tensors.items()
            if name.startswith(UPSAMPLER)
        }
    return Joined(
        recipe=dataclasses.replace(recipe, parts="cascade", base_px=small, **own),
        resolution=upsampler.card["resolution_px"],
        shape=shape,
        generator={
            **{BASE + name: x for name, x in base.generator.items()},
            **{UPSAMPLER + name: x for name, x in tensors.items()},
        },
    )


def _is_told(recipe: Any, theirs: Any, shape: ConditionShape, shown: ConditionShape) -> bool:
    """Whether the upsampler reads a text or a class; ValueError where it reads another one."""
    if not theirs.up_text or shown == ConditionShape():
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
