"""Say what the trials of a running search do: each start, each scoring, and how long is left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.repeating import repeating
from pipeline.live.board import Board, board_of

POLL_S = 1.0


class TrialWatch:
    """Reads the trials' folder and tells each thing that happened once.

    Args:
        folder: of all trials; each has values.json, then rung-0.json, rung-1.json, ...
        trials, rungs: how many trials there will be, and how often each is scored.
        say: prints one line.
        clock: seconds; a test gives its own.
    """

    def __init__(
        self,
        folder: Path,
        trials: int,
        rungs: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._trials, self._rungs, self._say = folder, trials, rungs, say
        self._clock, self._started = clock, clock()
        self._numbers: dict[str, int] = {}
        self._told: set[Path] = set()
        self._rows: dict[str, dict[str, Any]] = {}
        self._board = Board("tune")
        self._before = len(list(folder.glob("*/rung-*.json")))

    def look(self) -> None:
        """Tell what is new since the last call."""
        found = [
            p for p in self._folder.glob("*/values.json") if p.parent.name not in self._numbers
        ]
        for path in sorted(found, key=lambda path: path.stat().st_mtime_ns):
            self._numbers[path.parent.name] = len(self._numbers) + 1
            values = ", ".join(f"{k} {v:.3g}" for k, v in (_read(path) or {}).items())
            number = self._numbers[path.parent.name]
            self._rows[path.parent.name] = {"number": number, "values": values}
            self._tell(f"tune: {self._name(path)}: {values}")
        rungs = set(self._folder.glob("*/rung-*.json")) - self._told
        for path in sorted(rungs, key=lambda path: path.stat().st_mtime_ns):
            scores = _read(path)
            if scores is not None and path.parent.name in self._numbers:
                self._told.add(path)
                self._rows[path.parent.name] |= scores
                self._tell(
                    f"tune: {self._name(path)} at {scores['kimg']:g} kimg: score "
                    f"{scores['score']:.3f}, distance {scores['frechet']:.4g}, seed variety "
                    f"{scores['seed_variety']:.2f}{self._left()}"
                )

    def _tell(self, text: str) -> None:
        self._board.post(
            trials=list(self._rows.values()), of=self._trials, left_s=self._left_s() or None
        )
        if not self._board.is_watched:
            self._say(text)

    def _name(self, path: Path) -> str:
        return f"trial {self._numbers[path.parent.name]} of {self._trials}"

    def _left_s(self) -> float:
        """Return the seconds that the rest takes at most: bad trials stop early; 0 when unknown."""
        new = len(self._told) - self._before
        left = self._trials * self._rungs - len(self._told)
        return (self._clock() - self._started) / new * left if new > 0 and left > 0 else 0.0

    def _left(self) -> str:
        minutes = self._left_s() / 60
        if not minutes:
            return ""
        return f"; at most {minutes:.0f} min left" if minutes >= 1 else "; less than a minute left"

    @contextmanager
    def following(self) -> Iterator[None]:
        """Look every second, from a thread, for the time of the with block."""
        with board_of("tune") as self._board:
            try:
                with repeating(self.look, POLL_S, "trials"):
                    yield
            finally:
                self.look()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):  # still in writing: next time
        return None
    return content if isinstance(content, dict) else None
