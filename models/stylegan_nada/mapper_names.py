"""Published latent mappers (StyleCLIP): their names, and how one is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from models.editing.mapper import LatentMapper, StyleMapper
from models.interop.foreign_network import ForeignNetwork
from models.interop.names import Rule, load_translated
from models.interop.stored_tensors import StoredTensor

# The published spelling of the first.
LEVELS = {"course_mapping": "coarse", "medium_mapping": "medium", "fine_mapping": "fine"}
NUM_LAYERS = 4
ROWS = 18  # of a code at 1024 px, where a file does not hold its generator


def _perceptron(theirs: str, ours: str) -> list[Rule]:
    return [
        Rule(rf"mapper\.{theirs}\.mapping\.{i + 1}\.(\w+)", rf"{ours}.layers.{i}.\1")
        for i in range(NUM_LAYERS)
    ]


def levels_rules() -> tuple[Rule, ...]:
    """Return the renames of a mapper of levels."""
    pairs = (_perceptron(theirs, f"groups.{ours}") for theirs, ours in LEVELS.items())
    return tuple(rule for rules in pairs for rule in rules)


def single_rules() -> tuple[Rule, ...]:
    """Return the renames of a mapper of one group."""
    return tuple(_perceptron("mapping", "groups.all"))


def style_rules(layers: Sequence[int]) -> tuple[Rule, ...]:
    """Return the renames of a mapper of styles, given the published numbers of its layers."""
    found = (_perceptron(f"mapper_{n}", f"groups.{i}") for i, n in enumerate(layers))
    return tuple(rule for rules in found for rule in rules)


def mapper_in(content: Any) -> tuple[LatentMapper | StyleMapper, str] | None:
    """Return the mapper of a published file and its text; None when it holds none.

    Args:
        content: what `models.interop.checkpoint_file.read_checkpoint` returned.

    Raises:
        ValueError: tensors that do not fit.
    """
    state = _items(content).get("state_dict")
    tensors = {
        name: x for name, x in _items(state).items() if isinstance(x, (StoredTensor, Tensor))
    }
    own = {name: x for name, x in tensors.items() if name.startswith("mapper.")}
    if not own:
        return None
    text = str(_items(_items(content).get("opts")).get("description") or "")
    plain = ForeignNetwork(own).read()
    places = {int(m[1]) for name in own if (m := re.match(r"mapper\.mapper_(\d+)\.", name))}
    if places:
        return _of_styles(plain, sorted(places)), text
    levels = [ours for theirs, ours in LEVELS.items() if any(theirs in name for name in own)]
    images = {m[1] for n in tensors if (m := re.match(r"decoder\.to_rgbs\.(\d+)\.", n))}
    rows = 2 * len(images) + 2 if images else ROWS
    groups = {name: cut for name, cut in published_groups(rows).items() if name in levels}
    width = len(next(x for name, x in plain.items() if name.endswith(".bias")))
    mapper = LatentMapper(width, groups or {"all": (0, rows)}, "rows")
    rules = levels_rules() if groups else single_rules()
    load_translated(mapper, plain, rules, "the latent mapper")
    return mapper, text


def _of_styles(plain: Mapping[str, Tensor], places: Sequence[int]) -> StyleMapper:
    """Return a mapper of the styles at places among all layers in the order in which they run."""
    biases = {place: plain.get(f"mapper.mapper_{place}.mapping.1.bias") for place in places}
    widths = {f"{place:02d}": len(x) for place, x in biases.items() if x is not None}
    mapper = StyleMapper(widths)
    load_translated(mapper, plain, style_rules(places), "the mapper of styles")
    return mapper


def published_groups(rows: int) -> dict[str, tuple[int, int]]:
    """Return the rows of each level as the published code cuts them: 4, 4, the rest."""
    cuts = {"coarse": (0, 4), "medium": (4, 8), "fine": (8, rows)}
    return {name: (a, min(b, rows)) for name, (a, b) in cuts.items() if a < rows}


def _items(value: Any) -> dict[str, Any]:
    found = getattr(value, "items", value)
    found = found if isinstance(found, dict) else value
    return {k: v for k, v in found.items() if isinstance(k, str)} if isinstance(found, dict) else {}
