"""Sentences that a text is put into before CLIP embeds it, so that no one wording decides."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

PLAIN = ("{}",)


def imagenet_templates() -> tuple[str, ...]:
    """Return 79 sentences with {} for a text.

    They are the 80 of CLIP's ImageNet evaluation without the last. The published list leaves one
    out too; which one is not known here.
    """
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES[:-1])


def filled(templates: Sequence[str], text: str) -> list[str]:
    """Return every sentence with the text in it."""
    return [template.replace("{}", text) for template in templates]


def alternatives(templates: Sequence[str]) -> tuple[str, ...]:
    """Return every sentence that templates stand for: "a [small|large] {}" is two of them.

    Sentences without brackets are returned as they are.
    """
    products = (itertools.product(*pieces(template)) for template in templates)
    return tuple("".join(words) for product in products for words in product)


def pieces(template: str) -> list[list[str]]:
    """Return the parts of a template in order, each with all that may stand there.

    "a [small|large] ring" is [["a "], ["small", "large"], [" ring"]].
    """
    parts = re.split(r"\[([^\[\]]*\|[^\[\]]*)\]", template)
    return [x.split("|") if i % 2 else [x] for i, x in enumerate(parts)]
