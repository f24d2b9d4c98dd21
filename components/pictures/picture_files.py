"""Files of pictures: checked before anything is drawn, written whole or not at all.

A folder of pictures holds one PNG per image and index.jsonl, one line per file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from components.durable_files import publish_folder
from components.errors import ConfigError, StorageError
from components.pictures.animation import SUFFIXES as ANIMATIONS

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Kind = Literal["picture", "animation", "folder"]
PICTURES = (".png", ".webp", ".jpg", ".jpeg")
INDEX = "index.jsonl"
SIDE_LIMITS_PX = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500}
_SLUG_CHARS = 48


def check_target(
    path: Path, kinds: Collection[Kind], *, replace: bool = False, option: str = "--out"
) -> Kind:
    """Return what `path` asks for: picture or animation by its suffix, a folder without one.

    Args:
        path: as typed.
        kinds: what the command can make.
        replace: an existing file, or a folder of pictures written by an earlier call, may go.
        option: which one the path was given by.

    Raises:
        ConfigError: another kind or an unknown suffix; something is there that may not be replaced.
    """
    kind = _kind(path)
    if kind is None or kind not in kinds or path.name in ("", ".."):
        raise ConfigError(f"cannot save this as {str(path)[:80]}", option, _choices(kinds))
    if kind == "folder":
        _check_folder(path, replace)
    elif path.is_dir():
        raise ConfigError(f"{path.name} is a folder", option, "name a file in it")
    elif path.exists() and not replace:
        raise ConfigError(f"{path} exists", option, "name another file, or add --force")
    return kind


def check_work_folder(path: Path, names: Collection[str], *, replace: bool = False) -> None:
    """Raise ConfigError unless a folder of these files and folders may be written to `path`.

    Args:
        path: as typed.
        names: what such a folder holds.
        replace: an older one may go.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path} is a file", "--out", "name a folder")
    found = {entry.name for entry in path.iterdir()} if path.exists() else set()
    if found - set(names):
        todo = "name a new or an empty folder"
        raise ConfigError(f"the folder {path} holds other files", "--out", todo)
    if found and not replace:
        todo = "name another folder, or add --force"
        raise ConfigError(f"{path} holds an earlier result", "--out", todo)


def save_picture(picture: Image.Image, path: Path) -> None:
    """Save one picture in the format of its suffix.

    Raises:
        ConfigError: the format holds no picture of that size.
        StorageError: the place cannot be written to.
    """
    most_px = SIDE_LIMITS_PX.get(path.suffix.lower(), max(picture.size))
    if max(picture.size) > most_px:
        raise ConfigError(
            f"a sheet of {picture.width} x {picture.height} px", "--out", "use .png, or a folder"
        )
    with written_beside(path) as temporary:
        picture.save(temporary)


def save_folder(
    path: Path, images: Iterable[np.ndarray], records: Iterable[Mapping[str, Any]]
) -> int:
    """Save every image as a PNG, and the index; return how many.

    Args:
        path: replaced as a whole; `check_target` said that it may be.
        images: uint8 [H, W, 3] each, read one by one.
        records: facts about each image; `prompt` or `label`, and `seed`, name its file.
    """
    from PIL import Image

    with written_beside(path, folder=True) as temporary:
        temporary.mkdir()
        lines = []
        for number, (image, record) in enumerate(zip(images, records, strict=True)):
            name = file_name(number, record)
            Image.fromarray(image).save(temporary / name)
            lines.append(json.dumps({"file": name, **record}, ensure_ascii=False))
        (temporary / INDEX).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def file_name(number: int, record: Mapping[str, Any]) -> str:
    """Return a name that sorts and can be read: 0003_a-red-ring_seed7.png."""
    text = str(record.get("prompt") or record.get("label") or "")
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_text)[:_SLUG_CHARS].strip("-")
    seed = f"seed{record['seed']}" if "seed" in record else ""
    return "_".join(part for part in (f"{number:04d}", slug, seed) if part) + ".png"


@contextmanager
def written_beside(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Give a name beside `path`; what stands there afterwards becomes `path` by a rename.

    After an error nothing is left, not even folders made on the way.

    Raises:
        StorageError: the place cannot be written to.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if folder:
            publish_folder(temporary, path)
        else:
            os.replace(temporary, path)
    except BaseException as error:
        _remove(temporary, missing)
        if isinstance(error, (NotADirectoryError, FileExistsError, FileNotFoundError)):
            raise StorageError(
                f"cannot write there: {error.strerror}", str(path), "name another place"
            ) from error
        raise


def _remove(temporary: Path, made: Iterable[Path]) -> None:
    actions: list[Callable[[], Any]] = [lambda: shutil.rmtree(temporary), temporary.unlink]
    for action in (*actions, *(parent.rmdir for parent in made)):
        with suppress(OSError):
            action()


def _kind(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        return "picture"
    if suffix in ANIMATIONS:
        return "animation"
    return None if suffix else "folder"


def _check_folder(path: Path, replace: bool) -> None:
    """Refuse a folder that holds anything but an earlier call's pictures."""
    if not path.exists():
        return
    if not path.is_dir():
        raise ConfigError(f"{path} is a file", "--out", "end it in .png, or name a folder")
    names = {entry.name for entry in path.iterdir()}
    if names and not names <= _listed(path):
        raise ConfigError(
            f"the folder {path} holds other files", "--out", "name a new or an empty folder"
        )
    if names and not replace:
        raise ConfigError(f"{path} holds pictures", "--out", "name another folder, or add --force")


def _listed(path: Path) -> set[str]:
    """Return the names in a folder's index, and the index; nothing when there is none."""
    try:
        lines = (path / INDEX).read_text(encoding="utf-8").splitlines()
        return {INDEX, *(str(json.loads(line)["file"]) for line in lines)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _choices(kinds: Collection[Kind]) -> str:
    words = []
    if "picture" in kinds:
        words.append(f"end it in {', '.join(PICTURES)}")
    if "animation" in kinds:
        words.append(f"end it in {' or '.join(ANIMATIONS)}")
    if "folder" in kinds:
        words.append("name a folder")
    todo = ", or ".join(words)
    return todo if "animation" in kinds else f"{todo} (animations: ganline interpolate)"
