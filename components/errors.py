"""The errors that a user can meet, each with the exit code of the command.

Every message is one line: what was given, what was wanted, what to do. A command prints
`error: <what> (<where>): <what to do>` and exits; a traceback appears only with --debug.
"""

import errno
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What moves a cursor, clears a screen, hides or turns round text; and halves of characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


class GanlineError(Exception):
    """An error the user can act on.

    Args:
        what: what was found and what was wanted.
        where: the file, stage or parameter it was found in.
        todo: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, where: str, todo: str) -> None:
        super().__init__(what, where, todo)
        self.what, self.where, self.todo = what, where, todo

    def __str__(self) -> str:
        return printable(f"{self.what} ({self.where}): {self.todo}").replace("\n", " ")


class ConfigError(GanlineError):
    """A parameter or a command-line argument is wrong."""

    exit_code = 2


class DataError(GanlineError):
    """Input data is missing, unreadable or not enough."""

    exit_code = 3


class NonFiniteError(GanlineError):
    """Training met NaN or infinity and stopped before the weights were touched."""

    exit_code = 4


class CollapseError(NonFiniteError):
    """The model collapsed, and going back to an earlier state did not help."""


class StorageError(GanlineError):
    """A checkpoint, an artifact or a file is missing, broken or cannot be written."""

    exit_code = 5


class ResourceError(GanlineError):
    """Memory or disk is not enough."""

    exit_code = 6


class OutOfMemory(ResourceError):
    """A device or the machine has no memory left for what was asked at once."""


class Interrupted(GanlineError):
    """The run was stopped by a signal; the same command continues it."""

    exit_code = 7


_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_FORBIDDEN = {errno.EACCES, errno.EROFS, errno.EPERM}
_UNUSABLE = {errno.EIO, errno.ESTALE, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
# How libraries that hide the number of an error name the same things.
_FULL_WORDS = "No space left on device"
# oneDNN says no more where it gets no memory for its buffers.
_MEMORY_WORDS = ("can't allocate memory", "could not create a primitive")
_SOON_S = 0.01
_IMPORT_S = 20.0  # no import takes longer: then all of the program runs inside one
_RING_WORDS = "Symlink loop from"  # of Path.resolve, before Python 3.13


def printable(text: str) -> str:
    """Return text that a terminal shows and does not obey; lines and tabs stay.

    For everything that is printed and was not written by us: names in files, captions, messages of
    libraries.
    """
    return _UNPRINTABLE.sub(lambda found: _escaped(ord(found.group())), text)


def known_error(error: BaseException) -> GanlineError | None:
    """Return an error as one with an exit code, or None when it is a bug."""
    text = " ".join(str(error).split())
    if isinstance(error, GanlineError):
        return error
    if isinstance(error, KeyboardInterrupt):
        what = f"stopped by {str(error) or 'SIGINT'}"
        return Interrupted(what, "signal", "run the same command to continue")
    if isinstance(error, RuntimeError) and text.startswith(_RING_WORDS):
        where = text.removeprefix(_RING_WORDS).strip(" '")
        return StorageError("symbolic links in a ring", where, "give another path")
    full, where = _FULL_WORDS in text, "disk"
    if isinstance(error, OSError):
        where = str(error.filename or "disk")
        if error.errno in _FORBIDDEN:
            return StorageError("no permission to use it", where, "make the folder writable")
        if error.errno in _UNUSABLE:
            return StorageError(str(error.strerror), where, "give another path")
        full = full or error.errno in _FULL
        text = _FULL.get(error.errno or 0, text)
    if full:
        what = text if text in _FULL.values() else _FULL[errno.ENOSPC]
        return ResourceError(what, where, "free some space and run it again")
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or any(words in text for words in _MEMORY_WORDS)
    ):
        todo = "set micro_batch to auto or lower, or lower batch or the number of workers"
        return OutOfMemory(text[:160] or "out of memory", "memory", todo)
    return None


def say_error(error: BaseException, debug: bool = False) -> int:
    """Print an error as one line on stderr, after the lines it brings; return its exit code.

    Args:
        error: any; one that is not known is a bug, exit code 1.
        debug: print the traceback first; so does the environment variable GANLINE_DEBUG.
    """
    known = known_error(error)
    if debug or os.environ.get("GANLINE_DEBUG"):
        traceback.print_exception(error)
    for line in getattr(known, "lines", []):
        print(printable(line), file=sys.stderr)
    if known is not None:
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code
    text = printable(" ".join(f"{type(error).__name__}: {error}".split()))
    print(f"error: {text} (unexpected): run again with --debug", file=sys.stderr)
    return 1


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class _Stop:
    """A handler that raises KeyboardInterrupt, and lets the second signal end the process at once.

    While a module is imported it waits: libraries swallow what is raised into their imports
    (numpy.random does), or a lock of the import system stays taken for every other thread.
    """

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._repeated = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        is_second = self._since_s is not None and not self._repeated
        self._repeated, self._since_s = False, self._since_s or now_s
        if not is_second and now_s - self._since_s < _IMPORT_S and _is_importing(frame):
            threading.Timer(_SOON_S, self._repeat, [number]).start()
            return
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if is_second:
            signal.raise_signal(number)
        raise KeyboardInterrupt(signal.Signals(number).name)

    def _repeat(self, number: int) -> None:
        self._repeated = True
        signal.raise_signal(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


@contextmanager
def stop_on_signal() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt; a second signal ends the process at once.

    A signal that comes while a module is imported is raised when that has ended.
    """
    stop = _Stop()
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
