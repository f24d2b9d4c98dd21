"""Files and folders that are whole or absent: written beside, verified by hash, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path

MANIFEST = "manifest.json"


def write_manifest(folder: Path) -> None:
    """Write manifest.json (size and sha256 of every other file) and push all of it to the disk."""
    files = {p.name: {"bytes": p.stat().st_size, "sha256": file_hash(p)} for p in folder.iterdir()}
    (folder / MANIFEST).write_text(json.dumps({"files": files}, indent=1))
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def verify_manifest(folder: Path, needed: Collection[str]) -> str:
    """Return what is wrong with a folder that `write_manifest` closed, '' when it is whole."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        if missing := set(needed) - set(files):
            return f"{MANIFEST} does not list {', '.join(sorted(missing))}"
        for name, facts in files.items():
            path = folder / name
            if path.stat().st_size != facts["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, not {facts['bytes']}"
            if file_hash(path) != facts["sha256"]:
                return f"{name} has another hash"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def publish_folder(temporary: Path, target: Path) -> None:
    """Make a complete folder visible under its name by rename, replacing an older one."""
    old = target.with_name(target.name + ".old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    temporary.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def replace_file(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    sync(temporary)
    os.replace(temporary, path)


def file_hash(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Push a file or a folder's entries from the system's cache to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
