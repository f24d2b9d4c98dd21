"""A lock file that allows one run per run folder and names its owner.

It is taken over when the owner is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.errors import ConfigError

HEARTBEAT_S = 10.0
STALE_S = 90.0  # an owner on another host that has been silent for this long is dead


class RunLock:
    """Hold `folder`/run.lock from `acquire` to `release`; a thread keeps its time fresh.

    An owner on this host is dead when its process is gone (pid and start time); one on another host
    when its heartbeat is older than STALE_S. A lock with the same non-empty `token` is the same
    run's own: its driver has lost the worker that held it and starts another, maybe on another
    host.
    """

    def __init__(self, folder: Path, token: str = "") -> None:
        self._token = token
        self._path = folder / "run.lock"
        self._released = threading.Event()
        self._heart: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            ConfigError: another run holds the folder; the message names its pid and host.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(self._path.with_name("run.lock.guard")):
            owner = _read_owner(self._path)
            if owner is not None and not self._may_take(owner):
                raise ConfigError(
                    f"run folder is in use by process {owner['pid']} on {owner['host']} "
                    f"since {owner['started_utc']}",
                    str(self._path.parent),
                    "wait for it, or stop it first",
                )
            self._write()
        self._heart = threading.Thread(target=self._beat, name="run-lock", daemon=True)
        self._heart.start()

    def release(self) -> None:
        """Give the lock back."""
        self._released.set()
        if self._heart is not None:
            self._heart.join()
        owner = _read_owner(self._path)
        if owner is not None and owner["pid"] == os.getpid():
            self._path.unlink(missing_ok=True)

    def _may_take(self, owner: dict[str, Any]) -> bool:
        own = bool(self._token) and owner.get("token") == self._token
        return own or _is_dead(owner, self._path)

    def _write(self) -> None:
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "token": self._token,
            "process_start": process_start(os.getpid()),
            "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        temporary = self._path.with_name("run.lock.tmp")
        temporary.write_text(json.dumps(owner))
        os.replace(temporary, self._path)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._path)


@contextlib.contextmanager
def _one_at_a_time(guard: Path) -> Iterator[None]:
    """Let one process at a time look at the lock; go on without where there is no flock."""
    with guard.open("w") as stream:
        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _read_owner(path: Path) -> dict[str, Any] | None:
    """Return who holds the lock; None when nobody does or the file is not readable as a lock."""
    try:
        owner = json.loads(path.read_text())
        return owner if {"pid", "host", "started_utc"} <= owner.keys() else None
    except (FileNotFoundError, ValueError, AttributeError):
        return None


def _is_dead(owner: dict[str, Any], path: Path) -> bool:
    if owner["host"] != socket.gethostname():
        return time.time() - path.stat().st_mtime > STALE_S
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # The pid lives; after a reboot or a long time it may be another process.
    return owner.get("process_start", "") != process_start(int(owner["pid"]))


def process_start(pid: int) -> str:
    """Return the process' start in clock ticks since boot (Linux), '' where that is unknown."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "ended" if facts[0] == "Z" else facts[19]  # Z: killed, not yet reaped by its parent
    except (OSError, IndexError):
        return ""
