"""Keep servers up: this process listens, others answer, and are started anew when they die.

A listening socket stays open between the two, so clients that call meanwhile wait a little.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.errors import GanlineError, ResourceError

BACKLOG = 1024
CODE = Path(__file__).parents[2]
# A server that dies so often in so many seconds is not started once more.
MOST_DEATHS, WITHIN_S = 5, 60.0
_UNEXPECTED = GanlineError.exit_code  # also what Python ends with after a traceback
_KNOWN = {error.exit_code for error in GanlineError.__subclasses__()} - {_UNEXPECTED}
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


@dataclass(eq=False)
class Part:
    """A process that is kept up.

    Attributes:
        words: the command and its options; it answers on the socket.
        listening: open already.
        called: how it is named when it dies.
        deaths: when it died, the last few times.
    """

    words: Sequence[str]
    listening: socket.socket
    called: str = "the process that answers"
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_DEATHS))


def kept_up(words: Sequence[str], address: tuple[str, int], say: Callable[[str], object]) -> int:
    """Run one command that answers at an address, as `all_kept_up` does; return its exit code."""
    with socket.create_server(address, backlog=BACKLOG) as listening:
        return all_kept_up([Part(words, listening)], say)


def all_kept_up(parts: Sequence[Part], say: Callable[[str], object]) -> int:
    """Run `ganline <words> --socket N` for each part, again whenever it is killed.

    Args:
        parts: each needs those behind it.
        say: receives a line for each new start.

    Returns:
        The exit code of the first that stopped or said what is wrong; the others are ended then.

    Raises:
        ResourceError: one dies again and again.
        KeyboardInterrupt: the second of two signals; at the first one, all are left to finish.
    """
    ended: queue.SimpleQueue[tuple[Part, int]] = queue.SimpleQueue()
    running: dict[Part, subprocess.Popen[bytes]] = {}
    try:
        for part in parts:
            running[part] = _started(part, ended)
        while True:
            part, code = ended.get()
            if code in (0, *_KNOWN):  # stopped, or it has said what is wrong
                return code
            _count_death(part, code, say)
            running[part] = _started(part, ended)
    except KeyboardInterrupt:
        codes = []
        for part in parts:
            running[part].send_signal(signal.SIGTERM)
            codes.append(running[part].wait())
        return next(filter(None, codes), 0)
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def _count_death(part: Part, code: int, say: Callable[[str], object]) -> None:
    part.deaths.append(time.monotonic())
    ending = f"by signal {-code}" if code < 0 else f"with code {code}"
    if len(part.deaths) == MOST_DEATHS and part.deaths[-1] - part.deaths[0] < WITHIN_S:
        what = f"{part.called} ended {MOST_DEATHS} times in a minute, {ending}"
        raise ResourceError(what, "server", "is there memory enough? The log says more")
    say(f"warning: {part.called} ended {ending}: it is started again")


def _started(part: Part, ended: queue.SimpleQueue[tuple[Part, int]]) -> subprocess.Popen[bytes]:
    """Start a part; its exit code is put into the queue when it ends."""
    process = _start(part.words, part.listening)
    threading.Thread(target=lambda: ended.put((part, process.wait())), daemon=True).start()
    return process


def _start(words: Sequence[str], listening: socket.socket) -> subprocess.Popen[bytes]:
    number = listening.fileno()
    known = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *words, "--socket", str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(known)},
        pass_fds=[number],
        start_new_session=True,  # Ctrl-C is for the command, which passes it on
    )


def end_with_parent() -> None:
    """Let the kernel end this process when its parent is gone, whatever ended it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
