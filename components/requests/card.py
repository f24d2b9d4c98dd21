"""The card of a model: read and checked field by field, without torch and before any weights.

A card can come from anybody. What passes here has the types and sizes that the rest relies on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from components.errors import StorageError
from models.untrusted.json_file import read_json

CARD = "card.json"
BYTES_LIMIT = 16 * 2**20
SIDE_LIMIT, WIDTH_LIMIT, CLASSES_LIMIT = 2**15, 2**20, 2**20


def read_card_file(folder: Path) -> dict[str, Any]:
    """Return the card of a model's folder.

    Raises:
        OSError: there is none, it is no regular file, or it may not be read.
        ValueError: it is no card; the message names the field, what was found and what was wanted.
    """
    card = read_json(folder / CARD, BYTES_LIMIT)
    if not isinstance(card, dict):
        raise ValueError(f"it is {_kind(card)}, wanted an object")
    if missing := [name for name in NEEDED if name not in card]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name, (check, wanted) in {**NEEDED, **OPTIONAL}.items():
        if name in card and not check(card[name]):
            raise ValueError(f"{name} is {_shown(card[name])}, wanted {wanted}")
    names, count = card.get("label_names", []), card["shape"].get("num_labels", 0)
    if names and len(names) != count:
        raise ValueError(f"it has {len(names)} names for {count} classes")
    return card


def no_model(folder: Path) -> StorageError:
    """Return the error for a folder that holds no model."""
    what = "there is no model" if not folder.is_dir() else f"there is no {CARD}"
    todo = "run make demo first, or name the folder of a release or an artifact"
    return StorageError(what, str(folder), todo)


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _recipe(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    return isinstance(value.get("fields"), dict)


def _shape(value: Any) -> bool:
    # Names of fields that are not known are refused where the shape is built.
    number = _whole(0, WIDTH_LIMIT)
    if not isinstance(value, dict) or not all(number(size) for size in value.values()):
        return False
    return int(value.get("num_labels", 0)) <= CLASSES_LIMIT


def _release(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("content_hash"), str):
        return False
    limits = value.get("limits", {})
    if not isinstance(limits, dict) or not all(map(_whole(0, 2**31), limits.values())):
        return False
    return _texts({name: value.get(name, "") for name in _RELEASE_TEXTS})


_RELEASE_TEXTS = ("model_name", "licence", "text_encoder_sha256")
_IMAGES = 2**63 - 1
Check = tuple[Callable[[Any], bool], str]
NEEDED: Mapping[str, Check] = {
    "format": (_whole(0, _IMAGES), "a whole number"),
    "recipe": (_recipe, "an object of name and fields"),
    "resolution_px": (_whole(1, SIDE_LIMIT), f"a whole number from 1 to {SIDE_LIMIT}"),
    "shape": (_shape, f"an object of whole numbers up to {WIDTH_LIMIT}"),
    "nimg": (_whole(0, _IMAGES), "a whole number from 0"),
    "seed": (_whole(0, _IMAGES), "a whole number from 0"),
    "files": (_texts, "an object of file names and their sha256"),
}
OPTIONAL: Mapping[str, Check] = {
    "label_names": (_names, "a list of texts"),
    "imported_from": (_object, "an object"),
    "joined_from": (_object, "an object"),
    "best": (_object, "an object"),
    "tuned": (_object, "an object"),
    "bundled": (_object, "an object"),
    "encoders": (_texts, "an object of texts"),
    "parent_sha256": (lambda value: isinstance(value, str), "text"),
    "data_content_hash": (lambda value: isinstance(value, str), "text"),
    "fingerprint": (lambda value: isinstance(value, str), "text"),
    "release": (_release, "an object with content_hash"),
}


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "text"}
    return kinds.get(type(value), "a plain value")


def _shown(value: Any) -> str:
    """Return a short description of a wrong value."""
    if isinstance(value, dict | list):
        return f"{_kind(value)} of {len(value)}"
    text = str(value) if not isinstance(value, int) or abs(value) < 10**18 else "a huge number"
    return f"{text[:40]!r}" if isinstance(value, str) else text[:40]
