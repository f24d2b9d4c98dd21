"""Put a release into MLflow's registry: once per content, `candidate` first, then `champion`."""

from __future__ import annotations

import importlib.metadata
import os
import warnings
from pathlib import Path
from typing import Any

from components.artifacts.publishing import PublishConfig
from components.artifacts.release import MODEL_CARD
from components.errors import StorageError
from components.requests.subjects import example_subject, kind_of
from pipeline.places import runs_folder
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.mlflow_door import MlflowDoor, open_door, register_model, set_alias
from pipeline.tracking.pages import MODEL_NOTE

PACKAGE = Path(__file__).resolve().parents[2]
# What the served model imports; named here so that MLflow need not load it to find out.
NEEDED = ("mlflow", "torch", "open_clip_torch", "timm", "safetensors", "numpy", "pandas", "pillow")
CODE = ("components", "models")
REGISTERED = "models:/"


def publish_version(
    config: PublishConfig,
    tracking: TrackingConfig,
    *,
    run_id: str | None,
    release: Path,
    card: dict[str, Any],
) -> dict[str, Any]:
    """Register a release as `candidate`; the same content is registered only once.

    Args:
        config: name and limits.
        tracking: where MLflow is.
        run_id: the run that owns the model; None when MLflow did not answer.
        release: its folder.
        card: its card; `release.content_hash` tells the same content.

    Returns:
        `version`, and `new`: whether this call made it.

    Raises:
        StorageError: MLflow cannot be reached or refuses.
    """
    content = card["release"]["content_hash"]
    try:
        version = find_version(tracking, config.model_name, content)
        new = version is None
        if version is None:
            if run_id is None:
                raise ConnectionError("the tracking server does not answer")
            os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            with warnings.catch_warnings(action="ignore"):
                version = _register(config, tracking, run_id, release, card)
        set_alias(
            tracking, runs_folder(), name=config.model_name, alias="candidate", version=version
        )
    except Exception as error:
        raise _unreachable(config, error) from error
    return {"version": version, "new": new}


def promote(config: PublishConfig, tracking: TrackingConfig, version: str) -> None:
    """Point `champion` at a version.

    Raises:
        StorageError: MLflow cannot be reached.
    """
    try:
        set_alias(
            tracking, runs_folder(), name=config.model_name, alias="champion", version=version
        )
    except Exception as error:
        raise _unreachable(config, error) from error


def find_version(tracking: TrackingConfig, name: str, content_hash: str) -> str | None:
    """Return the newest version of a registered model with this content, or None."""
    client = MlflowDoor(tracking, runs_folder()).client
    versions = client.search_model_versions(f"name='{name}'")
    same = [int(v.version) for v in versions if v.tags.get("content_hash") == content_hash]
    return str(max(same)) if same else None


def _register(
    config: PublishConfig,
    tracking: TrackingConfig,
    run_id: str,
    release: Path,
    card: dict[str, Any],
) -> str:
    import pandas

    from pipeline.tracking.served_model import DEFAULTS

    subject = example_subject(card)
    image = {"prompt": [subject], "seed": [0], "image_png_base64": ["iVBORw0KGgo="]}
    return register_model(
        tracking,
        runs_folder(),
        run_id=run_id,
        name=config.model_name,
        python_model=Path(__file__).with_name("served_model.py"),
        artifacts={"release": str(release)},
        input_example=pandas.DataFrame({"prompt": [subject]}),
        output_example=pandas.DataFrame(image),
        params=DEFAULTS,
        pip_requirements=requirements(),
        tags={"content_hash": card["release"]["content_hash"], "licence": config.licence},
        notes=_notes(config, release, card),
        code_paths=[str(PACKAGE / folder) for folder in CODE],
    )


def _notes(config: PublishConfig, release: Path, card: dict[str, Any]) -> tuple[str, str]:
    """Return what the pages of the registered model and of the version say."""
    kind = kind_of(card)
    subject = example_subject(card)
    asked = {"text": f'"{subject}" ', "label": f'--label "{subject}" '}.get(kind, "")
    what = config.description or f"A GAN of {card['resolution_px']} px images."
    text = (release / MODEL_CARD).read_text(encoding="utf-8")
    # Its picture and the hub's header are of no use there.
    body = text.partition("![samples](samples.png)")[2].strip()
    return MODEL_NOTE.format(what=what, asked=asked), body


def registered_versions(config: TrackingConfig, runs: Path) -> list[tuple[str, str]]:
    """Return URI and title of every registered version, the newest of each model first."""
    client = open_door(config, runs).client
    found = []
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name='{model.name}'")
        for number in sorted((int(one.version) for one in versions), reverse=True):
            known = sorted(a for a, version in model.aliases.items() if int(version) == number)
            more = f" ({', '.join(known)})" if known else ""
            title = f"{model.name} version {number}{more}"
            found.append((f"models:/{model.name}/{number}", title))
    return found


def version_at(config: TrackingConfig, runs: Path, uri: str) -> str:
    """Return the version that an alias points at now: `models:/NAME@ALIAS`.

    Raises:
        StorageError: the store has no such alias, or cannot be reached.
    """
    name, _, alias = uri.removeprefix(REGISTERED).partition("@")
    try:
        return str(open_door(config, runs).client.get_model_version_by_alias(name, alias).version)
    except Exception as error:
        text = " ".join(str(error).split())[:160]
        raise StorageError(f"no such version: {text}", uri, "see `make ui` for names") from None


def requirements() -> list[str]:
    """Return the pinned packages that the served model needs, as installed here."""
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in NEEDED]


def _unreachable(config: PublishConfig, error: Exception) -> StorageError:
    text = " ".join(str(error).split())[:200]
    return StorageError(
        f"the model registry did not take {config.model_name}: {text}",
        "MLflow",
        "start MLflow and run publish again, or set publish.register: false",
    )
