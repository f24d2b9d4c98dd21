"""The states of a run that is kept in a store: on this machine's disk first, then there.

What the store has is the truth: a run goes on from the newest whole state in it, wherever the
worker was that wrote it. The disk here keeps copies that may be of another time.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from components.data.far_files import Folder
from components.data.far_folders import (
    LIST,
    Damaged,
    fetch_folder,
    remove_sent,
    remove_unlisted,
    send_folder,
    set_aside,
)
from components.data.far_objects import names_in
from components.durable_files import verify_manifest
from components.errors import StorageError
from components.training.store import FACTS, TENSORS, Saved, StateStore

_BEGIN = "nimg-"


@dataclass(kw_only=True)
class FarStateStore(StateStore):
    """The resumable states of one run, in a store.

    Attributes:
        place: the run's folder in the store; only this run sends to it.
        before: called before a state is sent: sends what must not be older than the state.
    """

    place: Folder
    before: Callable[[], None]
    remedy: ClassVar[str] = "mend the store, or free disk space,"
    _known: list[str] | None = field(default=None, init=False)

    def newest(self) -> Saved | None:
        """Fetch the newest state that is whole in the store; None where it has none.

        Raises:
            StorageError: the store does not answer, or the newest is damaged and no other may stand
                in for it.
        """
        remove_unlisted(self.place)  # of a worker that died while it sent
        brought = self._bring()
        for folder in self._states():
            if folder.name != brought:
                shutil.rmtree(folder)
        return super().newest()

    def last_name(self) -> str:
        """Return the name of the newest state in the store, 'none' without one.

        Raises:
            StorageError: the store does not answer, and did not before.
        """
        try:
            names = self._sent()
        except StorageError:
            if self._known is None:
                raise
            names = self._known  # nobody else sends to it
        return names[-1] if names else "none"

    def drop_newest(self) -> None:
        """Remove the newest state, if it is not the only one."""
        for name in self._sent()[1:][-1:]:
            remove_sent(self.place, name)
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _published(self, folder: Path) -> None:
        self.before()
        # A damaged one that is passed over comes again, to the bit.
        send_folder(folder, self.place, folder.name, anew=True)

    def _prune(self) -> None:
        super()._prune()
        with suppress(StorageError):  # the next save does it
            for name in self._sent()[: -self.keep]:
                remove_sent(self.place, name)

    def _sent(self) -> list[str]:
        found = (name.removesuffix(LIST) for name in names_in(self.place) if name.endswith(LIST))
        self._known = sorted(name for name in found if name.startswith(_BEGIN))
        return self._known

    def _bring(self) -> str:
        """Fetch the newest whole state; return its name, '' where there is none."""
        for name in reversed(self._sent()):
            problem = self._fetch(name)
            if not problem:
                return name
            if not self.fallback:
                raise StorageError(
                    f"state {name} is damaged ({problem}), and --no-fallback was given",
                    str(self.place),
                    "bring it back from a copy, or start without --no-fallback to lose what it has",
                )
            self.say(f"state {name} is damaged ({problem}): falling back to the one before")
            set_aside(self.place, name)
        return ""

    def _fetch(self, name: str) -> str:
        """Fetch a state; return what is wrong with it, '' when it is whole."""
        try:
            fetch_folder(self.place, name, self.folder / name)
        except Damaged as error:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            return error.what
        return verify_manifest(self.folder / name, needed=(TENSORS, FACTS))
