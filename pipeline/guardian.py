"""Workers end with the command that started them.

A command that is killed with SIGKILL cannot tell its workers; on one machine Ray lets them run on
for up to half a minute, in which they would write into the run folder beside the next attempt. So
every worker watches the command itself. On other nodes, the head of the cluster sees the lost
connection and ends them.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass

import psutil

POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Guardian:
    """The command that owns the workers: process id, start time (ids are reused), Ray's node id."""

    pid: int
    started: float
    node: str

    @classmethod
    def of_this_process(cls, node: str) -> Guardian:
        """Return the guardian that this process is."""
        return cls(pid=os.getpid(), started=psutil.Process().create_time(), node=node)

    def alive(self) -> bool:
        """Return whether the command still runs; only meaningful on its own node."""
        try:
            process = psutil.Process(self.pid)
            # Derived from the clock of the boot, it may differ a little between two processes.
            same = abs(process.create_time() - self.started) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def exit_with_driver(guardian: Guardian, node: str) -> None:
    """Watch the command from a background thread and end this process, at once, when it is gone.

    Args:
        guardian: the command.
        node: Ray's id of this node; elsewhere than on the command's node nothing is watched.
    """
    if node != guardian.node:
        return

    def watch() -> None:
        while guardian.alive():
            time.sleep(POLL_S)
        os._exit(1)  # No clean-up: states are written atomically, and nobody is left to report to.

    threading.Thread(target=watch, name="guardian", daemon=True).start()
