"""Ask in seconds whether anything listens at RAY_ADDRESS: Ray itself tries for minutes."""

from __future__ import annotations

import functools
import socket
from urllib.parse import urlsplit

from pipeline.cluster.failures import unreachable

TIMEOUT_S = 5.0


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
        parts = urlsplit(address if "://" in address else f"//{address}")
        host = parts.hostname
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        if not host or not port:
            raise ValueError("it names no host and port")
        socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise unreachable(address, error) from None
