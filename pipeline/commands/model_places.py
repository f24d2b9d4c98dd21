"""Where the models are that a server may draw with: folders, the last release, the registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from components.errors import ConfigError, GanlineError, StorageError
from pipeline.commands.default_folders import folder_of, published, tell_whose
from pipeline.places import bundled_folder, runs_folder

REGISTERED = "models:/"
Places = dict[str, tuple[str, Callable[[], Path]]]


def places_of(model: str, params: Path, *, everything: bool) -> Places:
    """Return where the models are, the default first.

    Args:
        model: as typed; "" = the default.
        params: names the tracking store.
        everything: also list what else can be drawn with here.
    """
    places: Places = {}
    if model:
        places[model] = (model, _finder(model, params))
    else:
        folder = published()
        tell_whose(folder)
        bundled = folder == bundled_folder() / "release"
        places["bundled" if bundled else "release"] = (
            "bundled model" if bundled else "last release",
            lambda: folder,
        )
    if everything:
        places = {**places, **_others(params), **places}
    return places


def _others(params: Path) -> Places:
    """Return every model that this project has: bundled, released, registered, on disk."""
    found: Places = {}
    release, bundled = _release(), bundled_folder() / "release"
    if release and release.is_dir():
        found["release"] = ("last release", lambda: release)
    if bundled.is_dir():
        found["bundled"] = ("bundled model", lambda: bundled)
    for name, title in _registered(params):
        found[name] = (title, _finder(name, params))
    for card in sorted(release.parent.glob("*/card.json")) if release else ():
        if card.parent != release and _draws(card):
            found[str(card.parent)] = (f"artifact {card.parent.name}", partial(Path, card.parent))
    return found


def _release() -> Path | None:
    try:
        return folder_of("publish", "--model")
    except ConfigError:
        return None


def _draws(card: Path) -> bool:
    """Whether a folder can be drawn with by itself: a release, or one that needs no CLIP."""
    try:
        content: dict[str, Any] = json.loads(card.read_text())
        text = bool(content["shape"].get("pooled_dim"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return "release" in content or not text or (card.parent / "text_encoder").is_dir()


def _registered(params: Path) -> list[tuple[str, str]]:
    """Return the registry's versions, the newest first; none where there is no registry here."""
    if not (runs_folder() / "mlflow.db").is_file():
        return []
    try:
        from pipeline.params.sections import load_params
        from pipeline.tracking.registry import registered_versions

        return registered_versions(load_params(params).tracking, runs_folder())
    except GanlineError:
        return []


def version_of(model: str, params: Path) -> Callable[[], str]:
    """Return what asks the registry for the version of an alias."""

    def ask() -> str:
        from pipeline.params.sections import load_params
        from pipeline.tracking.registry import version_at

        return version_at(load_params(params).tracking, runs_folder(), model)

    return ask


def _finder(model: str, params: Path) -> Callable[[], Path]:
    """Return what finds a model's folder: the registry's is looked up in the tracking store."""

    def find() -> Path:
        if not model.startswith(REGISTERED):
            return Path(model)
        from pipeline.params.sections import load_params
        from pipeline.tracking.mlflow_door import fetch_registered

        folder = fetch_registered(load_params(params).tracking, runs_folder(), model)
        for card in sorted(folder.rglob("card.json"), key=lambda path: len(path.parts)):
            return card.parent
        raise StorageError("it holds no release", model, "run the publish stage again")

    return find
