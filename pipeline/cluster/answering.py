"""Ask in seconds whether anything listens at RAY_ADDRESS, before and while it is used.

Ray itself tries for minutes, and when a head that it has joined is gone, it ends the process
without a word.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from components.repeating import repeating
from pipeline.cluster.failures import lost, unreachable

TIMEOUT_S = 5.0
POLL_S, GONE_S = 2.0, 30.0  # Ray itself gives up after a minute


@functools.cache
def check_answers(address: str) -> None:
    """Return when a connection is taken; an address that answered is not asked again.

    Args:
        address: `host:port` or `http(s)://host:port`; `auto` and "" are Ray's own business.

    Raises:
        ResourceError: nobody answers there, or it is no such address.
    """
    if address in ("", "auto", "local"):
        return
    try:
        _connect(address)
    except (OSError, ValueError) as error:
        raise unreachable(address, error) from None


@contextmanager
def leaving_with_the_head(address: str) -> Iterator[None]:
    """End this command with exit code 6 when nobody has answered at an address for half a minute.

    Its main thread waits for a cluster that is no more.

    Args:
        address: `host:port` of a head that this process has joined; "" for none to watch.
    """
    if not address:
        yield
        return
    answered = [time.monotonic()]

    def look() -> None:
        try:
            _connect(address)
            answered[0] = time.monotonic()
        except OSError as error:
            if time.monotonic() - answered[0] > GONE_S:
                known = lost(address, f"its head does not answer ({error})")
                print(f"error: {known}", file=sys.stderr, flush=True)
                os._exit(known.exit_code)

    with repeating(look, POLL_S, "head of the cluster"):
        yield


def _connect(address: str) -> None:
    parts = urlsplit(address if "://" in address else f"//{address}")
    host = parts.hostname
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    if not host or not port:
        raise ValueError("it names no host and port")
    socket.create_connection((host, port), timeout=TIMEOUT_S).close()
