"""End the workers together with the command that started them.

A command that is killed with SIGKILL cannot tell its workers. Its private Ray then lets them run on
for up to half a minute, in which they would write into the run folder beside the next attempt, and
leaves its controller behind for good. So every process of a private Ray watches the command. On a
cluster, whose Ray outlives the command, the head sees the lost connection and ends the workers.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass

import psutil

POLL_S = 0.5
VARIABLE = "GANLINE_COMMAND"


@dataclass(frozen=True, kw_only=True)
class Guardian:
    """The command that owns the workers: its process id, and its start time, for ids are reused."""

    pid: int
    started: float

    @classmethod
    def of_this_process(cls) -> Guardian:
        """Return the guardian that this process is."""
        return cls(pid=os.getpid(), started=psutil.Process().create_time())

    @classmethod
    def from_environment(cls) -> Guardian | None:
        """Return the guardian that a parent process has announced, None without one."""
        pid, _, started = os.environ.get(VARIABLE, "").partition(":")
        return cls(pid=int(pid), started=float(started)) if pid and started else None

    def announce(self) -> None:
        """Tell processes that this one starts, and theirs, who their guardian is."""
        os.environ[VARIABLE] = f"{self.pid}:{self.started}"

    def alive(self) -> bool:
        """Return whether the command still runs."""
        try:
            process = psutil.Process(self.pid)
            # Derived from the clock of the boot, it may differ a little between two processes.
            same = abs(process.create_time() - self.started) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def end_with_command() -> None:
    """Watch the announced command from a background thread; end this process when it is gone."""
    guardian = Guardian.from_environment()
    if guardian is None:
        return

    def watch() -> None:
        while guardian.alive():
            time.sleep(POLL_S)
        os._exit(1)  # No clean-up: states are written atomically, and nobody is left to report to.

    threading.Thread(target=watch, name="guardian", daemon=True).start()
