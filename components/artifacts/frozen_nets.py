"""Find the frozen nets in a folder of encoders: one sub-folder per role, with a card or a note."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from components.errors import StorageError
from models.untrusted.json_file import read_json

CARD, ABSENT = "card.json", "absent.json"


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
