"""What edits of the embedded drawings are asked for, in words that the bundled CLIP reads."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """What an edit is asked for: from one word to another, in some sentences.

    Attributes:
        value: of the attribute.
        neutral: what stands in its place before. "coloured" is no word that the bundled CLIP
            knows: an image of no colour in particular.
        templates: sentences with {}.
    """

    value: str
    neutral: str
    templates: tuple[str, ...]


WANTED = {
    "background": Wanted(
        value="blue",
        neutral="coloured",
        templates=(
            "a large green circle on a {} background",
            "a small yellow square on a {} background",
            "a large white triangle on a {} background",
            "a small black cross on a {} background",
            "a small red ring on a {} background",
            "a large orange square on a {} background",
            "a small purple triangle on a {} background",
            "a large red cross on a {} background",
        ),
    ),
    "colour": Wanted(
        value="green",
        neutral="coloured",
        templates=(
            "a large {} circle on a white background",
            "a small {} square on a black background",
            "a large {} triangle on a yellow background",
            "a small {} cross on a blue background",
            "a small {} ring on a red background",
            "a large {} square on an orange background",
            "a small {} triangle on a purple background",
            "a large {} cross on a red background",
        ),
    ),
    "size": Wanted(
        value="large",
        neutral="small",
        templates=(
            "a {} red circle on a white background",
            "a {} green square on a black background",
            "a {} blue triangle on a yellow background",
            "a {} white cross on a blue background",
        ),
    ),
}


def sentences(attribute: str, value: str) -> list[tuple[str, str]]:
    """Return (what a drawing may show, the same with one attribute changed) for every drawing."""
    from components.data.synthetic import ATTRIBUTES, prompt

    found = []
    for values in itertools.product(*ATTRIBUTES.values()):
        shown = dict(zip(ATTRIBUTES, values, strict=True))
        if shown["colour"] != shown["background"]:
            found.append((prompt(**shown), prompt(**{**shown, attribute: value})))
    return found
