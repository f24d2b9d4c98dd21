"""Watch the ranks of a training on this machine: one that hangs is named, ended and started again.

A stopped process, or one that waits for ever, answers nobody: neither Ray nor the other ranks, who
wait for it in a sum of gradients. The signs of life that the ranks leave in the run folder
(components/training/pulse.py) tell it apart from one that is slow. Ray replaces what ended here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.errors import Interrupted
from components.repeating import repeating
from components.training.lock import process_start
from components.training.pulse import FOLDER
from pipeline.cluster.soft_stop import stop_requested

POLL_S = 1.0
SILENT_S = 60.0  # without a beat: the process is stopped, or its machine is
STOPPING_S = 20.0  # without a step, once it was asked to save and stop


@dataclass
class Seen:
    """The last sign of one rank: what it said, and when it last beat and stepped (our clock)."""

    facts: dict[str, Any]
    beat: float
    step: float


@dataclass
class Watchdog:
    """Looks at the signs of life of one run.

    Attributes:
        run_dir: the run folder.
        patience_s: how long a rank that lives may stay in one phase.
        say: receives one line for each rank that is ended.
        clock: seconds that only grow.
        give_up: ends this command with an error, when a stop is asked for and a rank hangs.
    """

    run_dir: Path
    patience_s: float
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    give_up: Callable[[Interrupted], None] = field(default=lambda error: _leave(error))
    _seen: dict[int, Seen] = field(default_factory=dict, init=False)

    def look(self) -> None:
        """Read all signs, and end what hangs."""
        now, stopping = self.clock(), stop_requested(self.run_dir)
        self._read(now)
        for rank, seen in sorted(self._seen.items()):
            problem = self._problem(seen, now, stopping)
            if not problem:
                continue
            facts = seen.facts
            what = f"rank {rank} of {facts['size']} (process {facts['pid']}) {problem}"
            what += f", last in phase {facts['phase']!r}"
            if stopping:
                for other in self._seen.values():
                    _kill(other.facts)
                todo = "run the same command to continue from the last saved state"
                self.give_up(Interrupted(f"stopped; {what}", "training", todo))
                return
            self.say(f"warning: {what}: it is ended, the training starts again from its last state")
            _kill(facts)
            del self._seen[rank]

    def _read(self, now: float) -> None:
        found = {}
        for path in (self.run_dir / FOLDER).glob("rank-*.json"):
            try:
                facts = json.loads(path.read_text())
                rank, same = int(facts["rank"]), _lives(facts)
                told = (facts["beats"], facts["steps"], facts["size"], facts["phase"])
            except (OSError, ValueError, KeyError, TypeError):
                continue  # gone, or not ours
            if not same:  # Ray has noticed that one
                continue
            before = self._seen.get(rank)
            if before is None or before.facts["pid"] != facts["pid"]:
                found[rank] = Seen(facts, now, now)
                continue
            beat = now if told[0] != before.facts["beats"] else before.beat
            step = now if told[1] != before.facts["steps"] else before.step
            found[rank] = Seen(facts, beat, step)
        self._seen = found

    def _problem(self, seen: Seen, now: float, stopping: bool) -> str:
        silent, still = now - seen.beat, now - seen.step
        if silent > (STOPPING_S if stopping else SILENT_S):
            return f"has given no sign of life for {silent:.0f} s"
        if stopping and still > STOPPING_S and silent > STOPPING_S / 2:
            return f"has not moved for {still:.0f} s"
        if still > self.patience_s:
            return f"has not moved for {still:.0f} s"
        return ""


@contextmanager
def watched(run_dir: Path, patience_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """Watch the ranks of a run from a background thread for the time of the with block."""
    with repeating(Watchdog(run_dir, patience_s, say).look, POLL_S, "watchdog"):
        yield


def _lives(facts: dict[str, Any]) -> bool:
    """Return whether the process that wrote a sign still runs, and is that process."""
    start = process_start(int(facts["pid"]))
    return start not in ("", "ended") and start == facts["process_start"]


def _kill(facts: dict[str, Any]) -> None:
    if _lives(facts):
        os.kill(int(facts["pid"]), signal.SIGKILL)


def _leave(error: Interrupted) -> None:
    """End this command at once: its main thread waits for workers that do not answer."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)
