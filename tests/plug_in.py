"""An installed package that registers families, made in a folder: what pip leaves behind."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

TOY = Path(__file__).parent / "fixtures" / "toy_gan"


def install(folder: Path, package: str, entries: Mapping[str, str]) -> Path:
    """Write the package's metadata into a folder that is to stand on sys.path; return the folder.

    Args:
        folder: as site-packages; it holds the modules too.
        package: name of the distribution.
        entries: name of a family -> "module:name" of its `Family`.
    """
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = ["[ganline.families]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def install_toy(folder: Path) -> Path:
    """Copy the toy family there and register it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(TOY, folder / "toy_gan", ignore=ignored)
    return install(folder, "toy-gan", {"toy": "toy_gan:FAMILY"})


def python_path(*folders: Path) -> dict[str, str]:
    """Return the variable that puts the folders on a command's sys.path."""
    return {"PYTHONPATH": os.pathsep.join(map(str, folders))}
