"""The screen of a command that runs the whole graph: a display on a terminal, lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.live.board import VARIABLE, is_terminal, read_board
from pipeline.live.left import Expected, all_left, duration

if TYPE_CHECKING:
    from rich.console import RenderableType

KEPT_LINES = 40
PER_SECOND = 2.0


def _print(text: str) -> None:
    print(text, flush=True)


class Screen:
    """Says what the stages say, and on a terminal draws below it what the running one does.

    Args:
        stages: every stage of the command in its order, and how long each will take.
        quiet: say nothing but what a failed stage said last.
        print_line: prints one line where there is no display.
        clock: seconds; a test gives its own.
    """

    def __init__(
        self,
        stages: Mapping[str, Expected],
        *,
        quiet: bool = False,
        print_line: Callable[[str], object] = _print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages, self._quiet, self._print, self._clock = stages, quiet, print_line, clock
        self._past: set[str] = set()
        self._current, self._since = "", clock()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._folder: Path | None = None

    @contextmanager
    def drawn(self) -> Iterator[dict[str, str]]:
        """Draw for the time of the with block; give what the stages' environment needs."""
        if self._quiet or not is_terminal(sys.stdout):
            yield {}
            return
        from rich.console import Console
        from rich.live import Live

        before = self._print
        self._folder = Path(tempfile.mkdtemp(prefix="ganline-live-"))
        console = Console()
        try:
            with Live(
                console=console,
                get_renderable=self.view,
                refresh_per_second=PER_SECOND,
                transient=True,
            ):
                self._print = lambda text: console.print(
                    text, markup=False, highlight=False, soft_wrap=True
                )
                yield {VARIABLE: str(self._folder)}
        finally:
            self._print = before
            shutil.rmtree(self._folder, ignore_errors=True)

    def begin(self, name: str) -> None:
        """Say that a stage runs now."""
        self._end_current()
        self._current, self._since = name, self._clock()
        self._lines.clear()
        self.say(f"\n== {name}")

    def skip(self, name: str) -> None:
        """Say that a stage is up to date."""
        self._end_current()
        self._past.add(name)
        self.say(f"-- {name}: up to date")

    def say(self, text: str) -> None:
        """Print a line, or keep it for the case that the stage fails."""
        self._lines.append(text)
        if not self._quiet:
            self._print(text)

    def last_words(self) -> list[str]:
        """Return what was kept back of the stage that ran last; [] when all has been printed."""
        return list(self._lines) if self._quiet else []

    def view(self) -> RenderableType:
        """Return the display as it is now."""
        from rich.console import Group
        from rich.rule import Rule
        from rich.text import Text

        from pipeline.live.view import stage_view

        if not self._current:
            return Text("looking for what has changed")
        facts = read_board(self._folder) if self._folder else {}
        facts = facts if facts.get("stage") == self._current else {}
        spent = self._clock() - self._since
        of = max(len(self._stages), len(self._past) + 1)
        where = f"{self._current}  stage {len(self._past) + 1} of {of}"
        return Group(
            Rule(Text(where), align="left", style="dim"),
            stage_view(facts),
            Text(f"time left     {self._left(facts, spent)}"),
        )

    def _left(self, facts: Mapping[str, Any], spent: float) -> str:
        from pipeline.live.view import left_of

        left, known = left_of(facts), self._stages.get(self._current)
        if left is None and known and known.seconds is not None:
            left = max(known.seconds - spent, 0.0)
        begun = {*self._past, self._current}
        rest = [found for name, found in self._stages.items() if name not in begun]
        this = "unknown" if left is None else f"about {duration(left)}"
        text = f"this stage {this} (running for {duration(spent)})"
        return f"{text}; everything {all_left(rest, left or 0.0)}" if rest else text

    def _end_current(self) -> None:
        if self._current:
            self._past.add(self._current)
