"""What a stage does now, for whoever shows it: the command above, or the terminal of the stage.

The command above (`ganline repro`) names a folder in GANLINE_LIVE; the stage that runs writes
`now.json` there, whole or not at all. Nothing else reads it, and it goes with the command. `off` in
its place is `--quiet`: nobody shows anything.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

VARIABLE, FILE, OFF = "GANLINE_LIVE", "now.json", "off"


class Board:
    """Takes what a stage has to show.

    Args:
        stage: its name.
        folder: where the command above reads; None when nobody is above.
        changed: called with all facts after each post.
    """

    def __init__(
        self,
        stage: str,
        folder: Path | None = None,
        changed: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        self._facts: dict[str, Any] = {"stage": stage}
        self._folder, self._changed = folder, changed

    @property
    def is_watched(self) -> bool:
        """Whether somebody shows it; else it has to be said in lines."""
        return self._folder is not None or self._changed is not None

    def post(self, **facts: Any) -> None:
        """Add or replace facts, ready for JSON.

        A training posts `tick`, `largest`, `batch`, `sheet`; a search `trials`, `of`, `left_s`.
        """
        self._facts |= facts
        if self._changed:
            self._changed(self._facts)
        if self._folder is not None:
            temporary = self._folder / f"{FILE}.tmp"
            with suppress(OSError):  # the command above has gone, and its folder with it
                temporary.write_text(json.dumps(self._facts))
                os.replace(temporary, self._folder / FILE)


def read_board(folder: Path) -> dict[str, Any]:
    """Return the facts of the stage that wrote last, {} before any has."""
    try:
        content = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def board_of(stage: str) -> Iterator[Board]:
    """Give a stage its board for the time of the with block.

    The command above shows it; without one it is drawn on the stage's own terminal; where there is
    no terminal, nobody shows it.
    """
    above = os.environ.get(VARIABLE, "")
    if above != OFF and above and Path(above).is_dir():
        yield Board(stage, Path(above))
        return
    if above == OFF or not is_terminal(sys.stderr):
        yield Board(stage)
        return
    from rich.console import Console
    from rich.live import Live

    from pipeline.live.view import stage_view

    with Live(console=Console(stderr=True), refresh_per_second=4) as live:
        yield Board(stage, changed=lambda facts: live.update(stage_view(facts)))


def is_terminal(stream: Any) -> bool:
    """Whether a stream can be redrawn in place."""
    return bool(stream.isatty()) and os.environ.get("TERM", "") not in ("dumb", "unknown", "")
