"""States on disk: written to a temporary folder, verified by hash, made visible by one rename.

    states/nimg-000000012800/{tensors.safetensors, facts.json, manifest.json}
    states/newest.json -> its name

A process that dies at any moment leaves the old states, with or without a complete new one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.durable_files import (
    publish_folder,
    replace_file,
    verify_manifest,
    write_manifest,
)
from components.errors import ResourceError, StorageError

FORMAT = 1
MAX_FAILED_SAVES = 3
TENSORS, FACTS, POINTER = "tensors.safetensors", "facts.json", "newest.json"


@dataclass(frozen=True)
class Saved:
    """A verified state: tensors by name (on the CPU), facts, and the folder it came from."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    name: str


@dataclass(kw_only=True)
class StateStore:
    """The resumable states of one run.

    Attributes:
        folder: created on the first save.
        keep: states to keep.
        fingerprint: hash of configuration and inputs; a state of another one is refused.
        code_version: kept in the state; a difference is told, not refused.
        say: receives one line when something is repaired or differs.
        fallback: whether an older state may stand in for a damaged one.
    """

    folder: Path
    keep: int = 2
    fingerprint: str = ""
    code_version: str = "unknown"
    say: Callable[[str], None] = print
    fallback: bool = True
    remedy: ClassVar[str] = "free disk space"
    failed_saves: int = field(default=0, init=False)

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bool:
        """Write a state; False when storage refused it (the states before stay), ResourceError
        after three.
        """
        name = f"nimg-{facts['nimg']:012d}"
        temporary = self.folder / f"{name}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            self._write(temporary, tensors, facts)
            publish_folder(temporary, self.folder / name)
            replace_file(self.folder / POINTER, json.dumps({"state": name}))
            self._published(self.folder / name)
            self._prune()
        except (OSError, SafetensorError, StorageError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            self._count_failure(error)
            return False
        self.failed_saves = 0
        return True

    def newest(self) -> Saved | None:
        """Return the newest state that is whole, or None; damaged ones are told and set aside.

        Raises:
            StorageError: the newest is damaged and no other may stand in for it.
        """
        self._clean()
        for folder in reversed(self._states()):
            problem = verify_manifest(folder, needed=(TENSORS, FACTS))
            if problem and not self.fallback:
                raise StorageError(
                    f"state {folder.name} is damaged ({problem}), and --no-fallback was given",
                    str(folder),
                    "bring it back from a copy, or start without --no-fallback to lose what it has",
                )
            if problem:
                self.say(
                    f"state {folder.name} is damaged ({problem}): falling back to the one before"
                )
                aside = folder.with_name(folder.name + ".damaged")
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
                continue
            facts = json.loads((folder / FACTS).read_text())
            self._compare(facts, folder)
            self._prune()  # a process killed before it did so leaves one too many
            return Saved(load_file(folder / TENSORS), facts, folder.name)
        return None

    def examine(self) -> list[dict[str, Any]]:
        """Verify every state, those set aside too, and change nothing.

        Returns:
            Oldest first: name, nimg, bytes on disk, `problem` ("" = whole), `aside` (an earlier
            start has passed it over).
        """
        found = []
        for folder in sorted(p for p in self.folder.glob("nimg-*") if p.is_dir()):
            if folder.suffix in (".tmp", ".old"):
                continue
            number = folder.stem.removeprefix("nimg-")
            problem = verify_manifest(folder, needed=(TENSORS, FACTS))
            found.append(
                {
                    "name": folder.name,
                    "nimg": int(number) if number.isdigit() else 0,
                    "bytes": sum(p.stat().st_size for p in folder.iterdir() if p.is_file()),
                    "problem": problem,
                    "aside": folder.suffix == ".damaged",
                }
            )
        return found

    def preflight(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse to start where two more states of the size after the first step will not fit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Adam's two moments come on top of what is there at nimg 0; they are at most twice the
        # weights.
        wanted = 2 * 3 * sum(t.numel() * t.element_size() for t in tensors.values())
        free = shutil.disk_usage(self.folder).free
        if free < wanted:
            raise ResourceError(
                f"{free / 2**20:.0f} MiB free, two states need up to {wanted / 2**20:.0f} MiB",
                str(self.folder),
                "free disk space or set GANLINE_RUNS_DIR to a larger disk",
            )

    def last_name(self) -> str:
        """Return the name of the newest state, 'none' without one."""
        states = self._states()
        return states[-1].name if states else "none"

    def drop_newest(self) -> None:
        """Remove the newest state, if it is not the only one."""
        for folder in self._states()[1:][-1:]:
            shutil.rmtree(folder)

    def _published(self, folder: Path) -> None:
        """Take a whole state that lies on the disk further, where there is a further."""

    def _write(self, folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        on_cpu = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        save_file(on_cpu, folder / TENSORS)
        versions = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "code_version": self.code_version,
        }
        (folder / FACTS).write_text(json.dumps({**facts, **versions}, indent=1))
        write_manifest(folder)

    def _compare(self, facts: Mapping[str, Any], folder: Path) -> None:
        if facts["fingerprint"] != self.fingerprint:
            raise StorageError(
                f"state has fingerprint {facts['fingerprint']}, the run has {self.fingerprint}",
                str(folder),
                "use another run folder for another configuration",
            )
        if facts["code_version"] != self.code_version:
            self.say(
                f"warning: state {folder.name} was made by code {facts['code_version']}, "
                f"continuing with {self.code_version}"
            )

    def _states(self) -> list[Path]:
        found = self.folder.glob("nimg-*")
        return sorted(p for p in found if p.is_dir() and not p.suffix)

    def _prune(self) -> None:
        """Remove the states beyond those to keep; a kill meanwhile leaves no half state."""
        for folder in self._states()[: -self.keep]:
            aside = folder.with_name(f"{folder.name}.old")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)

    def _clean(self) -> None:
        """Remove what a killed process left half-written."""
        for pattern in ("*.tmp", "*.old"):
            for path in self.folder.glob(pattern):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()

    def _count_failure(self, error: Exception) -> None:
        self.failed_saves += 1
        self.say(f"warning: state not saved ({error}); {self.last_name()} stays the newest")
        if self.failed_saves >= MAX_FAILED_SAVES:
            raise ResourceError(
                f"{self.failed_saves} saves in a row failed: {error}",
                str(self.folder),
                f"{self.remedy} and run the same command; it continues from {self.last_name()}",
            ) from error
