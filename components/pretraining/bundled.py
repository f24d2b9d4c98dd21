"""Take a frozen net that comes with the project, checked by its hash."""

from __future__ import annotations

import shutil
from pathlib import Path

from components.errors import StorageError
from models.features import FeatureCard, read_card
from models.features.folder import CARD, WEIGHTS, check_weights


def take_bundled(role: str, bundled: Path, folder: Path) -> FeatureCard:
    """Copy the bundled net of a role into `folder` (made if absent); return its card.

    Args:
        role: of the net.
        bundled: folder with one sub-folder per role.
        folder: where; its files are those of `bundled`, byte for byte.

    Raises:
        StorageError: there is no such net, its file is damaged, or it is of another role.
    """
    source = bundled / role
    where = f"encoders.{role}.source: bundled"
    todo = f"restore {source} (git checkout), or set source to train"
    try:
        card = read_card(source)
        check_weights(source, card)
    except ValueError as error:
        raise StorageError(str(error), where, todo) from error
    if card.role != role:
        raise StorageError(f"{source} is a net of the role {card.role}", where, todo)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD):
        shutil.copyfile(source / name, folder / name)
    return card
