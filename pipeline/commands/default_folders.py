"""The model and the frozen nets that a command takes when none is named."""

from __future__ import annotations

import sys
from pathlib import Path

from components.errors import ConfigError, printable
from components.requests.card import CARD, no_model, read_card_file
from pipeline.places import bundled_folder, repository


def published() -> Path:
    """Return the folder that the publish stage writes, as dvc.yaml has it; the bundled release as
    long as nothing is published.
    """
    folder = folder_of("publish", "--model")
    bundled = bundled_folder() / "release"
    return folder if folder.exists() or not bundled.is_dir() else bundled


def chosen(model: Path | None) -> Path:
    """Return the model's folder that a command takes, before anything is loaded.

    Args:
        model: as the user named it; None = `published`.

    Raises:
        StorageError: no model lies there.
    """
    folder = model or published()
    if not (folder / CARD).exists():  # what it is, its reader says
        raise no_model(folder)
    return folder


def tell_whose(folder: Path) -> None:
    """Say on stderr, once the request is known to be right, that the bundled release draws."""
    if folder == bundled_folder() / "release":
        print(printable(_whose(folder)), file=sys.stderr, flush=True)


def frozen_nets() -> Path:
    """Return the folder that the encoders stage writes; the bundled one as long as it has not."""
    folder = folder_of("encoders", "--encoders")
    bundled = bundled_folder() / "encoders"
    return folder if folder.exists() or not bundled.is_dir() else bundled


def folder_of(stage: str, option: str) -> Path:
    """Return the first folder that a stage of dvc.yaml writes; `option` names another one."""
    import yaml

    graph = repository() / "dvc.yaml"
    try:
        (out, *_) = yaml.safe_load(graph.read_text())["stages"][stage]["outs"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        what = "no model named" if stage == "publish" else f"no folder of {stage} named"
        raise ConfigError(what, option, "name one, or run this in the repository") from None
    return graph.parent / (out if isinstance(out, str) else next(iter(out)))


def _whose(release: Path) -> str:
    """Say in a line whose model draws; opening it will say what is wrong with a broken one."""
    try:
        card = read_card_file(release)
        facts = [card["release"]["model_name"], f"{card['resolution_px']} px"]
        facts.append(f"by {card['bundled']['preset']}")
    except (OSError, ValueError, KeyError, TypeError):
        facts = ["card not readable"]
    return f"drawn by the bundled model ({', '.join(facts)}); your own: make demo"
