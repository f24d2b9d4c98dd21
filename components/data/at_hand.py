"""What a machine of a cluster needs from a store, brought into a folder of that machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.data.far_files import place_of
from components.data.far_folders import INPUTS, RUNS, fetch_folder, is_address, split

NODE = "GANLINE_NODE_DIR"


def node_folder() -> Path:
    """Return this machine's own folder, for inputs that were fetched and runs that are kept far."""
    return Path(os.environ.get(NODE) or "~/.cache/ganline/node").expanduser().absolute()


def at_hand(place: str) -> Path:
    """Return where an input lies on this machine; one in a store is fetched, or compared, first.

    Args:
        place: a path, or the address that `send_folder` has sent to: PLACE/NAME.

    Raises:
        StorageError: as `fetch_folder`.
    """
    if not is_address(place):
        return Path(place)
    above, name = split(place)
    folder = node_folder() / INPUTS / name
    with _alone(folder):
        fetch_folder(place_of(above), name, folder)
    return folder


def run_folder(address: str) -> Path:
    """Return this machine's folder of a run, or of a trial in a search, that is kept in a store."""
    return node_folder() / RUNS / address.partition("?")[0].rpartition(f"/{RUNS}/")[2]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process of this machine at a time bring a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as stream:
        with suppress(OSError):  # a file system without locks: files are replaced whole
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
