"""A run that is kept in a store: the worker's folder is its own, what must outlive it is sent.

    PLACE/metrics.jsonl  detours.json  micro_batch.json  samples/*.png    as in a run folder
    PLACE/nimg-*.json, artifact.json, <sha256>                            states and artifact, whole
    PLACE/stop                                                            asked for by the command

Rank 0 alone speaks with the store. It brings what is there before it begins, sends small files as
they change, a state before it counts as saved, and the artifact at the end.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.at_hand import at_hand
from components.data.far_files import FarFacts, Folder, place_of
from components.data.far_folders import below, fetch_folder, is_address, is_sent, send_folder
from components.data.far_objects import (
    facts_in,
    facts_of,
    fetch_object,
    folders_in,
    names_in,
    remove_object,
    write_object,
)
from components.errors import GanlineError, StorageError, known_error
from components.repeating import repeating
from components.training.job import TrainingJob

if TYPE_CHECKING:
    from components.training.distributed import World

EVERY_S = 3.0
STOP, ARTIFACT = "stop", "artifact"
_SHEETS = "samples"
# What small files a run, and a trial of a search, keep beside states and artifact.
_FILES = re.compile(r"metrics\.jsonl|detours\.json|micro_batch\.json|values\.json|rung-\d+\.json")
_INPUTS = ("data_dir", "encoders_dir", "start_dir", "pictures_dir")


@dataclass
class FarRun:
    """The files of a run on this machine, and the same files in a store.

    Args:
        kept_in: address of the run's folder in the store.
        folder: the run's folder here.
    """

    kept_in: str
    folder: Path
    _told: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.place = place_of(self.kept_in)

    def bring(self) -> None:
        """Make the small files here those of the store.

        Raises:
            StorageError: the store does not answer.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._told.clear()
            for name in self._here():
                (self.folder / name).unlink()
            for name in names_in(self.place):
                if _FILES.fullmatch(name):
                    fetch_object(self.place / name, self.folder / name)
            (self.folder / STOP).unlink(missing_ok=True)

    def send(self) -> None:
        """Send the small files that have changed since they were sent.

        Raises:
            StorageError: the store does not take them.
        """
        with self._lock:
            for name in self._here():
                path = self.folder / name
                with suppress(FileNotFoundError):
                    found = path.stat()
                    now = (found.st_size, found.st_mtime_ns)
                    if self._told.get(name) != now:
                        write_object(_at(self.place, name), path.read_bytes())
                        self._told[name] = now

    def send_artifact(self) -> None:
        """Send the finished artifact, and the last of the small files before it.

        Raises:
            StorageError: the store does not take it.
        """
        self.send()
        send_folder(self.folder / ARTIFACT, self.place, ARTIFACT, anew=True)

    def take_stop(self) -> None:
        """Let the run stop where the command has asked for it in the store."""
        if not (self.folder / STOP).exists() and facts_of(self.place / STOP) is not None:
            (self.folder / STOP).touch()

    def pull(self) -> None:
        """Fetch the small files that have changed, for who only reads here.

        Raises:
            StorageError: the store does not answer.
        """
        with self._lock:
            for name, found in self._there().items():
                if self._told.get(name) != (found.size, found.mtime_ns):
                    fetch_object(_at(self.place, name), self.folder / name)
                    self._told[name] = (found.size, found.mtime_ns)

    def pass_on_stop(self) -> None:
        """Ask the run to stop, where this command was asked."""
        if (self.folder / STOP).exists() and "asked" not in self._told:
            write_object(self.place / STOP, b"")
            self._told["asked"] = (0, 0)

    def forget_stop(self) -> None:
        """Take back what an earlier command has asked for."""
        remove_object(self.place / STOP)

    def take_artifact(self) -> bool:
        """Fetch the finished artifact, log and sheets; False where there is none yet.

        Raises:
            StorageError: the store does not answer, or holds another than was sent.
        """
        if not is_sent(self.place, ARTIFACT):
            return False
        self.pull()
        fetch_folder(self.place, ARTIFACT, self.folder / ARTIFACT)
        return True

    def _there(self) -> dict[str, FarFacts]:
        sheets = facts_in(self.place / _SHEETS).items()
        found = {f"{_SHEETS}/{name}": facts for name, facts in sheets if name.endswith(".png")}
        small = facts_in(self.place).items()
        return found | {name: facts for name, facts in small if _FILES.fullmatch(name)}

    def _here(self) -> list[str]:
        paths = [path for path in self.folder.iterdir() if _FILES.fullmatch(path.name)]
        paths += (self.folder / _SHEETS).glob("*.png")
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)


@contextmanager
def kept_far(job: TrainingJob, world: World, say: Callable[[str], None]) -> Iterator[FarRun | None]:
    """Bring a run that is kept in a store, send what changes for the time of the with block, and
    the artifact when it ends well.

    Args:
        job: as `here` gives it; one that is kept on disk alone yields None.
        world: the ranks.
        say: receives one line when the store does not answer for a while.
    """
    if not job.kept_in:
        yield None
        return
    far = FarRun(job.kept_in, Path(job.run_dir))
    world.first(far.bring)
    with nullcontext() if world.rank else _beside((far.send, far.take_stop), say):
        yield far
        world.first(far.send_artifact)


@contextmanager
def following(job: TrainingJob, say: Callable[[str], None]) -> Iterator[None]:
    """Bring log and sheets of a run that is kept in a store into the command's own run folder, and
    pass on its `stop`, for the time of the with block.

    Args:
        job: with the run folder of the command.
        say: receives one line when the store does not answer for a while.
    """
    if not job.kept_in:
        yield
        return
    far = FarRun(job.kept_in, Path(job.run_dir))
    far.forget_stop()  # of a command that died
    try:
        with _beside((far.pull, far.pass_on_stop), say):
            yield
    finally:
        with suppress(StorageError):
            far.forget_stop()


@contextmanager
def following_trials(kept_in: str, folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Bring the small files of a search's trials into the command's folder, one for each trial, for
    the time of the with block.

    Args:
        kept_in: address of the search, "" = the trials write into the folder themselves.
        folder: of all trials.
        say: receives one line when the store does not answer for a while.
    """
    if not kept_in:
        yield
        return
    trials: dict[str, FarRun] = {}

    def pull() -> None:
        for name in folders_in(place_of(kept_in)):
            trials.setdefault(name, FarRun(below(kept_in, name), folder / name)).pull()

    with _beside((pull,), say):
        yield


@contextmanager
def _beside(actions: tuple[Callable[[], None], ...], say: Callable[[str], None]) -> Iterator[None]:
    """Do something with the store again and again; where it does not answer, say so, and go on."""
    silent = False

    def act() -> None:
        nonlocal silent
        try:
            for action in actions:
                action()
            silent = False
        except (StorageError, OSError) as error:
            if not silent:
                say(f"warning: {error}; it is tried again")
            silent = True

    try:
        with repeating(act, EVERY_S, "store"):
            yield
    finally:
        act()


def with_inputs(job: TrainingJob, world: World) -> TrainingJob:
    """Return the job with inputs on this machine; those in a store are fetched, on every rank.

    Raises:
        GanlineError: on all ranks alike, when one could not fetch them.
    """
    wanted = {name: getattr(job, name) for name in _INPUTS}
    if not any(map(is_address, wanted.values())):
        return job
    found: dict[str, str] = {}
    problem: GanlineError | None = None
    world.mark("fetching inputs")
    try:
        found = {name: str(at_hand(place)) for name, place in wanted.items() if place}
    except Exception as error:  # the other ranks would wait for this one
        problem = known_error(error)
        if problem is None:
            raise
    for one in world.everyones(problem):
        if one is not None:
            raise one
    return replace(job, **found)  # type: ignore[arg-type]


def _at(place: Folder, name: str) -> Folder:
    for part in name.split("/"):
        place = place / part
    return place
