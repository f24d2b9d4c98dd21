"""Keep a server up: one process listens, another answers, and is started anew when it dies.

The listening socket stays open between the two, so clients that call meanwhile wait a little.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from components.errors import GanlineError, ResourceError

BACKLOG = 1024
CODE = Path(__file__).parents[2]
# A server that dies so often in so many seconds is not started once more.
MOST_DEATHS, WITHIN_S = 5, 60.0
_UNEXPECTED = GanlineError.exit_code  # also what Python ends with after a traceback
_KNOWN = {error.exit_code for error in GanlineError.__subclasses__()} - {_UNEXPECTED}
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def kept_up(words: Sequence[str], address: tuple[str, int], say: Callable[[str], object]) -> int:
    """Run `ganline <words> --socket N`, again whenever it is killed; return its exit code.

    Args:
        words: the command and its options; it answers on the socket.
        address: host and port to listen at.
        say: receives a line for each new start.

    Raises:
        ResourceError: it dies again and again.
        KeyboardInterrupt: the second of two signals; at the first one, it is left to finish.
    """
    deaths: deque[float] = deque(maxlen=MOST_DEATHS)
    with socket.create_server(address, backlog=BACKLOG) as listening:
        while True:
            code = _run(words, listening)
            if code in (0, *_KNOWN):  # stopped, or it has said what is wrong
                return code
            deaths.append(time.monotonic())
            ending = f"by signal {-code}" if code < 0 else f"with code {code}"
            if len(deaths) == MOST_DEATHS and deaths[-1] - deaths[0] < WITHIN_S:
                what = f"the process that answers ended {MOST_DEATHS} times in a minute, {ending}"
                raise ResourceError(what, "server", "is there memory enough? The log says more")
            say(f"warning: the process that answers ended {ending}: it is started again")


def _run(words: Sequence[str], listening: socket.socket) -> int:
    number = listening.fileno()
    known = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *words, "--socket", str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(known)},
        pass_fds=[number],
        start_new_session=True,  # Ctrl-C is for the command, which passes it on
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()


def end_with_parent() -> None:
    """Let the kernel end this process when its parent is gone, whatever ended it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
