"""What a recipe's `sentence` may be, said before any network is built."""

from __future__ import annotations

import math
from collections.abc import Sequence

from models.editing.templates import pieces

MOST_SENTENCES = 10_000  # CLIP embeds every one


def num_sentences(template: str) -> int:
    """Return how many sentences the choices make; 1 = there is no choice."""
    return math.prod(len(words) for words in pieces(template))


def misfits_of_sentence(
    template: str,
    condition: str,
    *,
    network: str,
    readers: Sequence[str],
    weight: tuple[str, float],
) -> dict[str, str]:
    """Return what of a sentence does not fit: field -> what it is and may be.

    Args:
        template: not empty.
        condition: what the data brings: "text", "label" or "none".
        network: the generator.
        readers: those that can be told what z chose.
        weight: name and value of the field that says how strongly CLIP pulls.
    """
    name, value = weight
    if fault := _fault(template, condition):
        return {"sentence": fault}
    if network not in readers:
        allowed = f"'', or generator_network: {' or '.join(readers)}"
        return {"sentence": f"got choices; allowed: {allowed}"}
    return {} if value else {name: "got 0; allowed: more, for a sentence is given"}


def _fault(template: str, condition: str) -> str:
    """Say what is wrong with the words for this data, "" if nothing."""
    found, hole = num_sentences(template), "{}" in template
    if found == 1:
        return "got no choice; allowed: a sentence with one, as [small|large]"
    if condition == "text":
        return "got choices; allowed: '', for the data has captions"
    if hole and condition != "label":
        return "got {}; allowed: a sentence without, for the data has no classes"
    if condition == "label" and not hole:
        return "got no {}; allowed: a sentence with {} where the class's name belongs"
    if found > MOST_SENTENCES:
        return f"got {found:,} sentences; allowed: at most {MOST_SENTENCES:,}"
    return ""
