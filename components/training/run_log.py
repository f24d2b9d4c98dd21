"""The file metrics.jsonl of a run: the loop's reports in order, also after an interruption."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass
class RunLog:
    """metrics.jsonl of a run: one line per record; what an earlier try wrote beyond its last state
    is replaced.
    """

    path: Path
    _begun: bool = field(default=False, init=False)

    def add(self, record: Record) -> None:
        """Append a record; the first one drops all lines from its nimg on."""
        if not self._begun:
            kept = [r for r in self.records() if r["nimg"] < record["nimg"]]
            self.path.write_text("".join(json.dumps(r) + "\n" for r in kept))
            self._begun = True
        with self.path.open("a") as stream:
            stream.write(json.dumps(record) + "\n")

    def go_back(self, state: str, text: str, report: Callable[[Record], None]) -> None:
        """Tell that the run goes on from a state; the lines after it are those of the new way.

        Args:
            state: its name, "none" for the beginning.
            text: what to tell.
            report: passes the notice on, to this log too.
        """
        self._begun = False  # the next record drops all lines from its nimg on
        nimg = 0 if state == "none" else int(state.removeprefix("nimg-"))
        # The state's own lines stay.
        report({"kind": "notice", "nimg": nimg + 1, "text": f"warning: {text}"})

    def records(self) -> list[Record]:
        """Return the records so far; a line cut by a kill is left out."""
        found = []
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def last_tick(self) -> Record:
        """Return the newest tick, {} without one."""
        ticks = [r for r in self.records() if r.get("kind") == "tick"]
        return ticks[-1] if ticks else {}
