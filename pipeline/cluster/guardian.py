"""End the workers together with the commands that they work for.

A command that is killed with SIGKILL cannot tell its workers. Its private Ray then lets them run on
for up to half a minute, in which they would write into the run folder beside the next attempt, and
leaves its controller behind for good. So every process of a private Ray watches the command that
owns this Ray (a stage, or the `make demo` or `dvc repro` above it), and whatever trains watches its
stage. On a cluster, whose Ray outlives the command, the head sees the lost connection and ends the
workers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_S = 0.5
VARIABLE = "GANLINE_COMMAND"


@dataclass(frozen=True, kw_only=True)
class Guardian:
    """A process that others live with: its id, and its start time, for ids are reused."""

    pid: int
    started: float

    @classmethod
    def of(cls, process: psutil.Process) -> Guardian:
        """Return the guardian that a process is; psutil.NoSuchProcess when it has ended."""
        return cls(pid=process.pid, started=process.create_time())

    @classmethod
    def of_this_process(cls) -> Guardian:
        """Return the guardian that this process is."""
        return cls.of(psutil.Process())

    @classmethod
    def parse(cls, text: str) -> Guardian:
        """Return the guardian whose `str` this is."""
        pid, _, started = text.partition(":")
        return cls(pid=int(pid), started=float(started))

    def __str__(self) -> str:
        return f"{self.pid}:{self.started}"

    def announce(self) -> None:
        """Tell processes that this one starts, and theirs, who their guardian is."""
        os.environ[VARIABLE] = str(self)

    def alive(self) -> bool:
        """Return whether the process still runs."""
        try:
            process = psutil.Process(self.pid)
            # Derived from the clock of the boot, it may differ a little between two processes.
            same = abs(process.create_time() - self.started) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def kill(self) -> None:
        """End the process at once; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive():
                os.kill(self.pid, signal.SIGKILL)


def announced() -> Guardian | None:
    """Return the guardian that a parent process has announced, None without one."""
    text = os.environ.get(VARIABLE, "")
    return Guardian.parse(text) if text else None


def command_above() -> Guardian | None:
    """Return the command that this process is a stage of, None when it was started by itself.

    That is the ancestor which has announced itself (`make demo`), else the outermost DVC: an
    experiment is one DVC that starts another.
    """
    named, outermost = announced(), None
    for process in psutil.Process().parents():
        try:
            found = Guardian.of(process)
            if named and found.pid == named.pid and named.alive():
                return found
            if is_dvc(process.cmdline()):
                outermost = found
        except psutil.Error:  # It ended meanwhile, or is somebody else's.
            continue
    return outermost


def is_dvc(words: list[str]) -> bool:
    """Return whether a command line is DVC's: `dvc repro`, `python -m dvc repro`."""
    starts = words[:1] if len(words) < 2 else [words[0], words[1]]
    return any(Path(word).name == "dvc" for word in starts) or words[1:3] == ["-m", "dvc"]


def end_with_command() -> None:
    """End this process when the announced guardian is gone."""
    if owner := announced():
        end_with(owner)


def end_with(guardian: Guardian) -> None:
    """Watch a process from a background thread; end this process when it is gone."""

    def watch() -> None:
        while guardian.alive():
            time.sleep(POLL_S)
        os._exit(1)  # No clean-up: states are written atomically, and nobody is left to report to.

    threading.Thread(target=watch, name="guardian", daemon=True).start()
