"""Whole folders in a store: sent file by file, and there only when their list is, written last.

    PLACE/<sha256>     files, named by their content: what two folders share lies there once
    PLACE/NAME.json    {"files": {path in the folder: {"bytes", "sha256"}}}

Whoever is cut off while sending leaves no list, so nobody takes the half. What is fetched is
compared with the list: what is here already is not fetched again, what fits its hash nowhere is an
error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from components.data.far_files import Folder
from components.data.far_objects import (
    NotThere,
    facts_of,
    fetch_object,
    names_in,
    read_object,
    remove_object,
    write_object,
)
from components.durable_files import file_hash
from components.errors import StorageError

LIST, ASIDE = ".json", ".json.damaged"
RUNS, INPUTS, SHARDS = "runs", "inputs", "shards"  # what lies where in a store
_AGAIN = "delete it, and the list that names it, in the store; run it again, and it is sent anew"
_AT_ONCE = 4  # files on their way
_OBJECT = re.compile(r"[0-9a-f]{64}")
Files = dict[str, dict[str, Any]]


class Damaged(StorageError):
    """A folder in a store is not what was sent: a file is gone, or has another hash."""


def is_address(text: str) -> bool:
    """Tell whether a text names a place by its URI, and not a path of this machine."""
    return "://" in text and not text.startswith("/")


def below(place: str, *names: str) -> str:
    """Return the address of a place below another one."""
    bare, mark, query = place.partition("?")
    return "/".join([bare.rstrip("/"), *names]) + mark + query


def split(address: str) -> tuple[str, str]:
    """Return the address of the place above, and the name in it."""
    bare, mark, query = address.partition("?")
    above, _, name = bare.rstrip("/").rpartition("/")
    return above + mark + query, name


def send_folder(folder: Path, place: Folder, name: str, *, anew: bool = False) -> None:
    """Send all files below a folder; with the last one, they are there under a name.

    Args:
        folder: what is sent.
        place: where to.
        name: of the folder there; its list replaces an older one.
        anew: files of the same hash and size that are there may be damaged: send them all.

    Raises:
        StorageError: the store does not take them.
    """
    files: Files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        facts = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
        files[path.relative_to(folder).as_posix()] = facts
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        different = {facts["sha256"]: folder / path for path, facts in files.items()}
        sent = [
            pool.submit(write_object, place / sha256, path, known=not anew)
            for sha256, path in different.items()
        ]
        for one in sent:
            one.result()
    write_object(place / f"{name}{LIST}", json.dumps({"files": files}, indent=1).encode())


def is_sent(place: Folder, name: str) -> bool:
    """Tell whether a whole folder of this name is there."""
    return facts_of(place / f"{name}{LIST}") is not None


def fetch_folder(place: Folder, name: str, folder: Path) -> None:
    """Bring a folder to this machine as it was sent; files of it that are here already stay.

    Args:
        place: where it was sent to.
        name: of the folder there.
        folder: afterwards it holds these files and no others.

    Raises:
        NotThere: nothing of this name was sent, or not to its end.
        Damaged: what lies in the store is not what was sent.
        StorageError: the store does not answer.
    """
    files = list_of(place, name)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for one in [pool.submit(_bring, place, folder / p, facts) for p, facts in files.items()]:
            one.result()


def list_of(place: Folder, name: str) -> Files:
    """Return what a folder that was sent holds: path -> bytes and sha256.

    Raises:
        NotThere, Damaged, StorageError: as `fetch_folder`.
    """
    where = place / f"{name}{LIST}"
    content = read_object(where)
    try:
        files = json.loads(content)["files"]
        for path, facts in files.items():
            inside = PurePosixPath(path)
            if inside.is_absolute() or ".." in inside.parts or "\0" in path:
                raise ValueError(f"{path!r} lies outside of it")
            if not _OBJECT.fullmatch(facts["sha256"]) or type(facts["bytes"]) is not int:
                raise ValueError(f"no hash and size of {path!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"the list is not readable: {error}", str(where), _AGAIN) from None
    return dict(files)


def remove_sent(place: Folder, name: str) -> None:
    """Remove a folder that was sent: its list first, then files that no other list names.

    Raises:
        StorageError: the store does not answer.
    """
    remove_object(place / f"{name}{LIST}")
    remove_unlisted(place)


def remove_unlisted(place: Folder) -> None:
    """Remove the files that no list names: what was left by somebody who was cut off.

    Only for a place that nobody else sends to meanwhile.

    Raises:
        StorageError: the store does not answer.
    """
    names = names_in(place)
    objects = [name for name in names if _OBJECT.fullmatch(name)]
    if not objects:
        return
    kept = set()
    for name in names:
        if name.endswith((LIST, ASIDE)):
            kept |= _hashes_in(read_object(place / name))
    for name in objects:
        if name not in kept:
            remove_object(place / name)


def set_aside(place: Folder, name: str) -> None:
    """Take a damaged folder out of the way, and lose nothing of it.

    Raises:
        StorageError: the store does not answer.
    """
    where = place / f"{name}{LIST}"
    write_object(place / f"{name}{ASIDE}", read_object(where))
    remove_object(where)


def _hashes_in(content: bytes) -> set[str]:
    """Return all hashes in a file; of one that is no list, whatever looks like one."""
    return set(_OBJECT.findall(content.decode("ascii", "replace")))


def _bring(place: Folder, target: Path, facts: Mapping[str, Any]) -> None:
    same_size = target.is_file() and target.stat().st_size == facts["bytes"]
    if same_size and file_hash(target) == facts["sha256"]:
        return
    where = place / facts["sha256"]
    for _ in range(2):  # an answer may be a lie, once
        try:
            if fetch_object(where, target) == facts["sha256"]:
                return
        except NotThere:
            raise Damaged(f"{target.name} is gone", str(where), _AGAIN) from None
    target.unlink()
    raise Damaged(f"{target.name} has another hash", str(where), _AGAIN)
