"""Look through a folder once: its regular files, what is hidden, and what cannot be read.

Links are followed, loops are not. Nothing is opened that is no regular file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from components.data.decode import sniff
from components.data.far_files import FarPath, Folder, far_listing, far_size, open_far
from components.data.names import is_hidden, shown
from components.data.reasons import Reason
from components.errors import DataError

# What says of itself that it is an image; whether it can be read, its bytes decide.
IMAGE_EXTENSIONS = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "jif",
        "webp",
        "gif",
        "avif",
        "avifs",
        "apng",
        "bmp",
        "dib",
        "tif",
        "tiff",
        "svg",
        "heic",
        "heif",
        "jxl",
        "jp2",
        "ico",
        "psd",
        "tga",
    ]
)
# Files of these kinds lie beside images and are none; all others without an image's ending are
# looked into.
_NO_IMAGES = frozenset(
    [
        "txt",
        "json",
        "jsonl",
        "csv",
        "tsv",
        "cls",
        "md",
        "html",
        "htm",
        "xml",
        "yaml",
        "yml",
        "log",
        "npy",
        "npz",
        "pt",
        "safetensors",
        "parquet",
        "tar",
        "gz",
        "tgz",
        "zip",
        "7z",
        "pdf",
        "py",
        "mp4",
        "mov",
        "mkv",
        "webm",
        "mp3",
        "wav",
        "db",
        "ini",
        "tmp",
        "caption",
        "ipynb",
        "toml",
    ]
)
_DEEPEST = 200  # folders inside one another
_SNIFFED = 32  # bytes; enough for every format that `sniff` knows


@dataclass(frozen=True)
class Tree:
    """What a folder holds, in sorted order; paths are relative to it, with forward slashes.

    Attributes:
        files: regular files.
        odd: path -> why it is not read: a pipe, a broken link, a loop, a folder without permission.
        hidden: hidden entries; what a hidden folder holds is not looked at.
    """

    files: list[str] = field(default_factory=list)
    odd: dict[str, Reason] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)


def look(folder: Folder) -> Tree:
    """Return the tree below a folder."""
    tree = Tree()
    if isinstance(folder, FarPath):
        _sort_far(far_listing(folder), tree)
        return tree
    info = os.stat(folder)
    _walk(str(folder), "", ((info.st_dev, info.st_ino),), tree)
    tree.files.sort()
    tree.hidden.sort()
    return tree


def extension(name: str) -> str:
    """Return the ending of a file's name, in small letters, "" for none."""
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return ending.lower() if dot and stem else ""


def images_of(folder: Folder, tree: Tree) -> Iterator[str]:
    """Yield every file that is an image or says that it is one."""
    for file in tree.files:
        ending = extension(file)
        if ending in IMAGE_EXTENSIONS or (
            ending not in _NO_IMAGES and _starts_as_image(folder, file)
        ):
            yield file


def is_regular(path: Folder) -> bool:
    """Tell whether a path leads to a regular file; never opens it."""
    if isinstance(path, FarPath):
        return True  # a store holds nothing else
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_folder(folder: Folder) -> bool:
    """Tell whether there is a folder; in a store, whether there is anything below."""
    return bool(far_listing(folder)) if isinstance(folder, FarPath) else folder.is_dir()


def no_folder(path: Folder, todo: str) -> DataError:
    """Return what to say of a path that is no folder: it is not there, or it is a file."""
    where = shown(str(path), 200)
    if isinstance(path, Path) and path.is_file():
        return DataError("a file, not a folder", where, "unpack it if packed, and name its folder")
    return DataError("no such folder", where, todo)


def open_file(path: Folder) -> IO[bytes]:
    """Open a file for reading, here or in a store.

    Raises:
        OSError: it cannot be opened; Unreachable where a store does not answer.
    """
    return open_far(path) if isinstance(path, FarPath) else open(path, "rb")


def size_of(file: IO[bytes]) -> int:
    """Return the bytes of an open file, and leave its place as it was."""
    if (far := far_size(file)) is not None:
        return far
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size


def state_of(folder: Folder, name: str) -> tuple[int, int]:
    """Return bytes and time of change, in ns, of a file below a folder; (-1, -1) for none."""
    if isinstance(folder, FarPath):
        facts = far_listing(folder).get(name)
        return (facts.size, facts.mtime_ns) if facts else (-1, -1)
    try:
        info = os.stat(folder / name)
    except (OSError, ValueError):
        return (-1, -1)
    return (info.st_size, info.st_mtime_ns)


def read_regular(path: Folder, most: int) -> bytes | None:
    """Return the bytes of a regular file, None when it is larger than `most` bytes.

    Raises:
        OSError: it cannot be read or is no regular file.
    """
    if isinstance(path, FarPath):
        with open_far(path) as far:
            return far.read(size_of(far)) if size_of(far) <= most else None
    # Not blocking: between the look and the opening a pipe may have taken its place.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(f"no regular file: {path}")
        # Python sets aside all the bytes that it is asked for: `most` of them for every picture.
        return file.read(facts.st_size) if facts.st_size <= most else None


def _sort_far(files: Iterable[str], tree: Tree) -> None:
    """Sort the names of a store's files: what is hidden by any part of its path is no data."""
    hidden = set()
    for file in files:
        parts = file.split("/")
        first = next((at for at, part in enumerate(parts) if is_hidden(part)), None)
        if first is None:
            tree.files.append(file)
        else:
            hidden.add("/".join(parts[: first + 1]))
    tree.files.sort()
    tree.hidden.extend(sorted(hidden))


def _walk(root: str, inside: str, above: tuple[tuple[int, int], ...], tree: Tree) -> None:
    try:
        with os.scandir(os.path.join(root, inside)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        tree.odd[f"{inside}/"] = Reason.FOLDER_UNREADABLE
        return
    for entry in found:
        path = f"{inside}/{entry.name}" if inside else entry.name
        if is_hidden(entry.name):
            tree.hidden.append(path)
            continue
        try:
            if entry.is_dir():
                info = entry.stat()
                place = (info.st_dev, info.st_ino)
                if place in above or len(above) > _DEEPEST:
                    tree.odd[f"{path}/"] = Reason.FOLDER_LOOP
                else:
                    _walk(root, path, (*above, place), tree)
            elif entry.is_file():
                tree.files.append(path)
            else:
                tree.odd[path] = Reason.SAMPLE_NOT_A_FILE
        except OSError:  # a link that leads to itself
            tree.odd[path] = Reason.SAMPLE_NOT_A_FILE


def _starts_as_image(folder: Folder, file: str) -> bool:
    try:
        with open_file(folder / file) as opened:
            return sniff(opened.read(_SNIFFED)) is not None
    except OSError:
        return False
