"""From a card back to its network: built without memory first, compared by name and shape.

A card can come from anybody, so its sizes are held against the file of weights before anything of
those sizes is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.family import recipe_from
from components.errors import ConfigError, StorageError
from components.requests.card import CARD

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Load weights, all of them or none; StorageError as `check_fit`."""
    check_fit(module, tensors, where)
    module.load_state_dict(dict(tensors), strict=True)


def check_fit(
    module: nn.Module, tensors: Mapping[str, Tensor | tuple[int, ...]], where: Path
) -> None:
    """Compare names and shapes.

    Args:
        module: the network, with or without memory.
        tensors: name -> the tensor, or its shape.
        where: the file, for the error.

    Raises:
        StorageError: lists up to ten unknown, missing or misshapen names each.
    """
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found_shapes = {n: t if isinstance(t, tuple) else tuple(t.shape) for n, t in tensors.items()}
    shapes = [n for n in own if found_shapes.get(n, own[n]) != own[n]]
    problems = {
        "unknown": sorted(tensors.keys() - own.keys()),
        "missing": sorted(own.keys() - tensors.keys()),
        "other shape": [f"{n} {list(found_shapes[n])} not {list(own[n])}" for n in shapes],
    }
    found = [f"{kind}: {', '.join(names[:10])}" for kind, names in problems.items() if names]
    if found:
        raise broken(where, f"weights do not fit the network; {'; '.join(found)}")


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a safetensors file."""
    from models.untrusted.bounded_build import file_shapes

    try:
        return file_shapes(path)
    except ValueError as error:
        raise broken(path, str(error)) from error


def check_outline(weights: Path, card: Mapping[str, Any]) -> None:
    """Compare a file of weights with the card beside it, before anything of that size is built.

    Raises:
        StorageError: the card describes no network, one far larger than the file, or another one.
    """
    from models.untrusted.bounded_build import outline

    shapes = _shapes(weights)
    network = outline(lambda: fresh_generator(weights.parent, card), shapes)
    check_fit(network, shapes, weights)


def fresh_generator(folder: Path, card: Mapping[str, Any]) -> nn.Module:
    """Build the network that a card describes.

    Raises:
        StorageError: the card describes none.
    """
    from models.interfaces import ConditionShape
    from models.untrusted.bounded_build import BROKEN

    try:
        recipe = recipe_from({**card["recipe"]["fields"], "name": card["recipe"]["name"]})
        return recipe.generator(card["resolution_px"], ConditionShape(**card["shape"]))
    except ConfigError as error:
        raise broken(folder, f"{CARD}: {error.what}; {error.todo}") from error
    except BROKEN as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise broken(folder, f"{CARD} describes no network: {text}") from error


def broken(path: Path, problem: str) -> StorageError:
    """Return the error of an artifact that cannot be used."""
    return StorageError(problem, str(path), "make the artifact again with the stage that wrote it")
