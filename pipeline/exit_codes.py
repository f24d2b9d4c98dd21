"""The end of every command: an error becomes one line on stderr and an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from components.errors import ConfigError, GanlineError, Interrupted, ResourceError, StorageError


def guarded(action: Callable[[], object], debug: bool = False) -> int:
    """Call `action`; print an error as one line on stderr and return its exit code."""
    try:
        with _stop_on_signal():
            action()
        return 0
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        known = _as_known(error)
        if debug or os.environ.get("GANLINE_DEBUG"):
            traceback.print_exc()
        for line in getattr(known, "lines", []):
            print(line, file=sys.stderr)
        if known is None:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"error: {text} (unexpected): run again with --debug", file=sys.stderr)
            return 1
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code


def _as_known(error: BaseException) -> GanlineError | None:
    """Return the error as one with an exit code, or None when it is a bug."""
    if isinstance(error, GanlineError):
        return error
    if isinstance(error, KeyboardInterrupt):
        signal_name = str(error) or "SIGINT"
        return Interrupted(
            f"stopped by {signal_name}", "signal", "run the same command to continue"
        )
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        text = " ".join(str(error).split())[:160] or "out of memory"
        return ResourceError(text, "memory", "lower micro_batch, batch or the number of workers")
    if isinstance(error, OSError):
        where = str(error.filename or "disk")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return ResourceError("the disk is full", where, "free some space and run it again")
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return StorageError("no permission to use it", where, "make the folder writable")
    if isinstance(error, argparse.ArgumentTypeError):
        return ConfigError(str(error), "command line", "see --help")
    return None


@contextmanager
def _stop_on_signal() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt; a second signal ends the process at once."""

    def stop(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt(signal.Signals(number).name)

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are the caller's business
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
