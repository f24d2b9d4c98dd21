"""A sign of life of every rank: a small file that says who it is, what it does, and how far it is.

    run_dir/pulse/rank-0.json  {"rank", "size", "pid", "process_start", "phase", "steps", "beats"}

A thread writes it every two seconds. `steps` grows when the rank goes on to something else, `beats`
always: a stopped process shows neither, one that waits for ever shows beats alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from components.repeating import repeating
from components.training.lock import process_start

BEAT_S = 2.0
FOLDER = "pulse"


@dataclass
class Pulse:
    """What this rank does now; `at` is called by the training loop, `beating` writes it down."""

    folder: Path
    rank: int = 0
    size: int = 1
    phase: str = "start"
    steps: int = 0
    beats: int = field(default=0, init=False)

    def at(self, phase: str) -> None:
        """Say what the rank does from here on."""
        self.phase = phase
        self.steps += 1

    @property
    def path(self) -> Path:
        """The file of this rank."""
        return self.folder / f"rank-{self.rank}.json"

    def write(self) -> None:
        """Write the file in one step; a full disk stops no training."""
        self.beats += 1
        facts = {
            "rank": self.rank,
            "size": self.size,
            "pid": os.getpid(),
            "process_start": process_start(os.getpid()),
            "phase": self.phase,
            "steps": self.steps,
            "beats": self.beats,
        }
        temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(facts))
            os.replace(temporary, self.path)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Write the file every two seconds for the time of the with block, then remove it."""
        self.write()
        try:
            with repeating(self.write, BEAT_S, "pulse"):
                yield
        finally:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
                self.folder.rmdir()  # the last rank
