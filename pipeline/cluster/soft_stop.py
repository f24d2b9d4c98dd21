"""Pass SIGTERM and Ctrl-C to a training on any machine, as a file in its run folder."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STOP = "stop"
_WATCHED = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping_softly(run_dir: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Turn SIGTERM and the first SIGINT into the file `stop`, which workers look for at every step.

    They save their state and end. A second SIGINT ends this command at once; its workers follow it.
    """
    stop = run_dir / STOP
    stop.unlink(missing_ok=True)

    def ask(number: int, _: object) -> None:
        if number == signal.SIGINT and stop.exists():
            os._exit(128 + number)
        stop.touch()
        say(f"{signal.Signals(number).name}: saving the state, then stopping")

    try:
        with _handlers(dict.fromkeys(_WATCHED, ask)):
            yield
    finally:
        stop.unlink(missing_ok=True)


def stop_requested(run_dir: Path) -> bool:
    """Return whether the command that owns the run asks it to stop."""
    return (run_dir / STOP).exists()


@contextmanager
def keeping_handlers() -> Iterator[None]:
    """Undo what the code in the with block does to the handlers of SIGTERM and SIGINT.

    Ray's own, in place while it starts, ends the process without a word (exit code 15): this makes
    of it what a signal is to every command.
    """
    with _handlers({}):
        try:
            yield
        except SystemExit as error:
            if error.code == signal.SIGTERM:
                raise KeyboardInterrupt("SIGTERM") from error
            raise


@contextmanager
def _handlers(new: dict[signal.Signals, Callable[[int, object], None]]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets only the main thread handle signals.
        return
    before = {number: signal.getsignal(number) for number in _WATCHED}
    for number, handler in new.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
