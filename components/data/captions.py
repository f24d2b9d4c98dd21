"""Captions of the drawn shapes: templates, their exact inverse, and the one form for prompts.

`attributes_of` reads every caption that `caption` can write, and nothing else, so the truth about a
caption needs no guess.
"""

from __future__ import annotations

import re

ATTRIBUTES: dict[str, list[str]] = {
    "shape": ["circle", "square", "triangle", "ring", "cross"],
    "colour": ["red", "green", "blue", "yellow", "orange", "purple", "white", "black"],
    "background": ["red", "green", "blue", "yellow", "orange", "purple", "white", "black"],
    "size": ["small", "large"],
}

# Other words for the same value; each stands for one value only.
SYNONYMS: dict[str, dict[str, str]] = {
    "shape": {"disc": "circle", "plus": "cross"},
    "colour": {},
    "background": {},
    "size": {"little": "small", "big": "large"},
}

# What a class can be named after; a colour is the shape's, since one word cannot say whose it is.
CLASS_ATTRIBUTES = ("size", "colour", "shape")

# "a" becomes "an" before a vowel after filling in.
TEMPLATES: tuple[str, ...] = (
    "a {size} {colour} {shape} on a {background} background",
    "{size} {colour} {shape} on {background}",
    "a {colour} {shape}, {size}, on a {background} background",
    "a {background} background with a {size} {colour} {shape}",
    "an image of a {size} {colour} {shape} on a {background} background",
    "{background} background, {size} {colour} {shape}",
    "there is a {size} {colour} {shape} in front of a {background} background",
    "the {shape} is {size} and {colour}, the background is {background}",
)


def prompt(*, shape: str, colour: str, background: str, size: str) -> str:
    """Return the plain caption of these values.

    Raises:
        ValueError: a value is not in ATTRIBUTES.
    """
    values = {"shape": shape, "colour": colour, "background": background, "size": size}
    for name, value in values.items():
        if value not in ATTRIBUTES[name]:
            raise ValueError(f"{name} must be one of {', '.join(ATTRIBUTES[name])}; got {value!r}")
    return _fill(TEMPLATES[0], values)


def caption(values: dict[str, str], template: int, synonym: float) -> str:
    """Write a caption.

    Args:
        values: attribute name -> value of ATTRIBUTES.
        template: index into TEMPLATES.
        synonym: number in [0, 1); below 0.3 another word is used for each value that has one.
    """
    words = dict(values)
    if synonym < 0.3:
        for name, table in SYNONYMS.items():
            words[name] = next((s for s, v in table.items() if v == values[name]), values[name])
    return _fill(TEMPLATES[template], words)


def attributes_of(text: str) -> dict[str, str] | None:
    """Return the attribute values that a caption tells of; None if it is not one of ours."""
    for pattern in _PATTERNS:
        match = pattern.fullmatch(text.strip().lower())
        if match:
            return {n: SYNONYMS[n].get(match[n], match[n]) for n in ATTRIBUTES}
    return None


def attributes_of_class(name: str) -> dict[str, str] | None:
    """Return the attribute values that a class' name tells of ("red circle"); None if any word of
    it is another, or stands for an attribute that is named already.
    """
    found: dict[str, str] = {}
    for word in name.lower().split():
        attribute = next((n for n in CLASS_ATTRIBUTES if word in ATTRIBUTES[n]), "")
        if not attribute or attribute in found:
            return None
        found[attribute] = word
    return found or None


def label_of(shape: str, colour: str) -> int:
    """Return the class index of shape x colour, in [0, 40)."""
    colours = ATTRIBUTES["colour"]
    return ATTRIBUTES["shape"].index(shape) * len(colours) + colours.index(colour)


def _fill(template: str, words: dict[str, str]) -> str:
    return re.sub(r"\ba (?=[aeiou])", "an ", template.format(**words))


def _pattern(template: str) -> re.Pattern[str]:
    text = re.sub(r"\ba ", "an? ", template)
    for name, values in ATTRIBUTES.items():
        words = "|".join([*values, *SYNONYMS[name]])
        text = text.replace("{" + name + "}", f"(?P<{name}>{words})")
    return re.compile(text)


_PATTERNS = [_pattern(template) for template in TEMPLATES]
