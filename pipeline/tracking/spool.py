"""The local record of one tracked run: a file of JSON lines, written before anything is sent.

`<runs>/tracking/<stage>-<fingerprint>-<n>.jsonl` holds every event with a running number;
`.sent` beside it holds the number of the last event that MLflow confirmed and the id of the MLflow
run; `.files/` holds copies of images and small artifacts until they are sent.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

Event = dict[str, Any]
METRICS_PER_CALL = 900  # MLflow takes at most 1000 in one batch
COPY_LIMIT_BYTES = 64 * 2**20  # a larger artifact is sent from where it lies


def grouped(events: list[Event]) -> Iterator[list[Event]]:
    """Split events into groups that go out in one call: metrics together, all else alone."""
    group: list[Event] = []
    size = 0
    for event in events:
        more = len(event["values"]) if event["op"] == "metrics" else METRICS_PER_CALL
        if group and (event["op"] != "metrics" or size + more > METRICS_PER_CALL):
            yield group
            group, size = [], 0
        group.append(event)
        size += more
    if group:
        yield group


class Spool:
    """One run's file of events. Only one process at a time may hold it (`hold`)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = path.with_suffix(".files")
        self.position = path.with_suffix(".sent")
        self._file: IO[str] | None = None
        self._lock_file: IO[str] | None = None
        self._write = threading.Lock()
        self._next = 0

    def hold(self) -> bool:
        """Take the run for this process; False when a living process has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = self.path.with_suffix(".lock").open("a")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            self._lock_file = None
            return False
        events = self.events()
        self._next = events[-1]["seq"] + 1 if events else 0
        self._file = self.path.open("a", encoding="utf-8")
        if events and not self.path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # the last process died within a line
        return True

    def release(self) -> None:
        """Give the run back."""
        if self._file:
            self._file.close()
        if self._lock_file:
            self.path.with_suffix(".lock").unlink(missing_ok=True)
            self._lock_file.close()
        self._file = self._lock_file = None

    def append(self, event: Event) -> Event:
        """Write one event as a line and return it with its number.

        Raises:
            OSError: when the line cannot be written.
        """
        with self._write:
            assert self._file is not None, "append to a spool that is not held"
            event = {"seq": self._next, **event}
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
            self._next += 1
        return event

    def events(self) -> list[Event]:
        """Return every whole line; a line cut by a kill is left out."""
        if not self.path.exists():
            return []
        events = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                events.append(self._at_hand(json.loads(line)))
            except json.JSONDecodeError:
                continue
        return events

    def _at_hand(self, event: Event) -> Event:
        """Return the event; a copy beside the spool is found again after both were moved."""
        path = Path(str(event.get("file", "")))
        copy = self.files / path.parent.name / path.name
        if "file" in event and not path.exists() and copy.exists():
            return {**event, "file": str(copy)}
        return event

    def sent(self) -> tuple[int, str | None]:
        """Return the number of the last confirmed event (-1 for none) and the MLflow run id."""
        try:
            state = json.loads(self.position.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return -1, None
        return state["seq"], state["run_id"]

    def mark_sent(self, seq: int, run_id: str) -> None:
        """Note that everything up to `seq` arrived in that MLflow run."""
        temporary = self.position.with_suffix(".sent.tmp")
        temporary.write_text(json.dumps({"seq": seq, "run_id": run_id}))
        os.replace(temporary, self.position)

    def keep_copy(self, path: Path) -> str:
        """Copy a file beside the spool until it is sent; return the path to send."""
        path = path.absolute()
        if path.is_dir() or path.stat().st_size > COPY_LIMIT_BYTES:
            return str(path)
        return str(shutil.copy2(path, self.new_file(path.name)))

    def new_file(self, name: str) -> Path:
        """Return a fresh path, in its own folder, for a file that waits to be sent."""
        folder = self.files / f"{self._next:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def drop_copies(self) -> None:
        """Delete the copies; called when everything was sent."""
        shutil.rmtree(self.files, ignore_errors=True)


def spool_for(folder: Path, stage: str, fingerprint: str, *, reopens: bool = False) -> Spool:
    """Return a held spool: the unfinished one of the same stage and fingerprint, else a new one.

    With `reopens` a finished one will do as well.
    """
    name = re.sub(r"[^A-Za-z0-9_@.-]", "_", f"{stage}-{fingerprint}")
    number = 1
    while True:
        spool = Spool(folder / f"{name}-{number}.jsonl")
        if spool.hold():
            events = spool.events()
            finished = any(e["op"] == "end" and e["status"] == "FINISHED" for e in events[-1:])
            if reopens or not finished:
                return spool
            spool.release()
        number += 1
