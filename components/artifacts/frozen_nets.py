"""Find the frozen nets in a folder of encoders: one sub-folder per role, with a card or a note."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.errors import StorageError
from models.untrusted.json_file import read_json

CARD, ABSENT = "card.json", "absent.json"


def is_absent(folder: Path, role: str) -> bool:
    """Return whether a role has no net and shall have none; a damaged one is not absent."""
    return not (folder / role).is_dir() or (folder / role / ABSENT).is_file()


def present_roles(folder: Path) -> list[str]:
    """Return the roles that have a net, sorted; the folder of an absent one holds a note alone."""
    return sorted(path.parent.name for path in folder.glob(f"*/{CARD}"))


def encoder_hashes(folder: Path, roles: Iterable[str]) -> dict[str, str]:
    """Return role -> sha256 of frozen nets; a role that the user asked to be absent is left out.

    Raises:
        StorageError: a net has no readable card.
    """
    found = {}
    for role in roles:
        if (folder / role / ABSENT).is_file():
            continue
        path = folder / role / CARD
        try:
            found[role] = str(read_json(path)["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"no encoder for the role {role}: {error!r}"
            raise StorageError(problem, str(path), "run the encoders stage") from error
    return found
