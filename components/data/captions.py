"""Captions of the drawn shapes: templates, their exact inverse, and the one form for prompts.

`attributes_of` reads every caption that `caption` and `pair_caption` can write, and nothing else,
so the truth about a caption needs no guess.
"""

from __future__ import annotations

import re

ATTRIBUTES: dict[str, list[str]] = {
    "shape": ["circle", "square", "triangle", "ring", "cross"],
    "colour": ["red", "green", "blue", "yellow", "orange", "purple", "white", "black"],
    "background": ["red", "green", "blue", "yellow", "orange", "purple", "white", "black"],
    "size": ["small", "large"],
}

# Of two objects: those of ATTRIBUTES are of the left or upper one, the others of its partner.
PAIR_ATTRIBUTES: dict[str, list[str]] = ATTRIBUTES | {
    "shape_2": ATTRIBUTES["shape"],
    "colour_2": ATTRIBUTES["colour"],
    "size_2": ATTRIBUTES["size"],
    "relation": ["left of", "above"],
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

# {one} and {two}: what `_object` says, in either order; {where}: a key of _RELATIONS.
PAIR_TEMPLATES: tuple[str, ...] = (
    "a {one} {where} a {two} on a {background} background",
    "{one} {where} {two} on {background}",
    "a {background} background with a {one} {where} a {two}",
    "an image of a {one} {where} a {two} on a {background} background",
    "{background} background, {one} {where} {two}",
    "there is a {one} {where} a {two} in front of a {background} background",
    "a {one} is {where} a {two}, the background is {background}",
)

# Words -> the relation, and whether the object that is told first is the partner.
_RELATIONS: dict[str, tuple[str, bool]] = {
    "left of": ("left of", False),
    "to the left of": ("left of", False),
    "right of": ("left of", True),
    "to the right of": ("left of", True),
    "above": ("above", False),
    "over": ("above", False),
    "below": ("above", True),
    "under": ("above", True),
}


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


def pair_caption(
    values: dict[str, str], template: int, *, turned: bool, synonym: float, brief: bool
) -> str:
    """Write a caption of two objects.

    Args:
        values: attribute name -> value of PAIR_ATTRIBUTES.
        template: index into PAIR_TEMPLATES.
        turned: tell of the partner first ("b right of a" in place of "a left of b").
        synonym: number in [0, 1); below 0.3 other words are used where there are some.
        brief: leave out "large": an object of which no size is told is large.
    """
    objects = [_object(values, suffix, synonym, brief) for suffix in ("", "_2")]
    if turned:
        objects.reverse()
    wanted = (values["relation"], turned)
    names = [words for words, meaning in _RELATIONS.items() if meaning == wanted]
    where = names[-1 if synonym < 0.3 else 0]
    words = {"one": objects[0], "two": objects[1], "background": values["background"]}
    return _fill(PAIR_TEMPLATES[template], words | {"where": where})


def attributes_of(text: str) -> dict[str, str] | None:
    """Return the attribute values that a caption tells of: those of ATTRIBUTES, or those of
    PAIR_ATTRIBUTES where it tells of two objects; None if it is not one of ours.
    """
    text = text.strip().lower()
    for pattern in _PATTERNS:
        match = pattern.fullmatch(text)
        if match:
            return {n: SYNONYMS[n].get(match[n], match[n]) for n in ATTRIBUTES}
    for pattern in _PAIR_PATTERNS:
        match = pattern.fullmatch(text)
        if match:
            return _pair_values(match)
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


def _object(values: dict[str, str], suffix: str, synonym: float, brief: bool) -> str:
    """Return "small red ring"; large ones may go without their size."""
    words = []
    for name in CLASS_ATTRIBUTES:
        value = values[name + suffix]
        others = [s for s, v in SYNONYMS[name].items() if v == value and synonym < 0.3]
        if not (brief and value == "large"):
            words.append(others[0] if others else value)
    return " ".join(words)


def _pair_values(match: re.Match[str]) -> dict[str, str]:
    relation, turned = _RELATIONS[match["where"]]
    values = {"background": match["background"], "relation": relation}
    for told, suffix in (("one", "_2" if turned else ""), ("two", "" if turned else "_2")):
        for name in CLASS_ATTRIBUTES:
            word = match[f"{name}_{told}"] or "large"
            values[name + suffix] = SYNONYMS[name].get(word, word)
    return {name: values[name] for name in PAIR_ATTRIBUTES}


def _words_of(name: str) -> str:
    return "|".join([*ATTRIBUTES[name], *SYNONYMS[name]])


def _pattern(template: str) -> re.Pattern[str]:
    text = re.sub(r"\ba ", "an? ", template)
    for name in ATTRIBUTES:
        text = text.replace("{" + name + "}", f"(?P<{name}>{_words_of(name)})")
    return re.compile(text)


def _pair_pattern(template: str) -> re.Pattern[str]:
    text = re.sub(r"\ba ", "an? ", template)
    for told in ("one", "two"):
        size, colour, shape = (f"(?P<{name}_{told}>{_words_of(name)})" for name in CLASS_ATTRIBUTES)
        text = text.replace("{" + told + "}", f"(?:{size} )?{colour} {shape}")
    text = text.replace("{where}", f"(?P<where>{'|'.join(_RELATIONS)})")
    return re.compile(text.replace("{background}", f"(?P<background>{_words_of('background')})"))


_PATTERNS = [_pattern(template) for template in TEMPLATES]
_PAIR_PATTERNS = [_pair_pattern(template) for template in PAIR_TEMPLATES]
