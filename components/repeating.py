"""Do something again and again in a background thread, for the time of a with block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(action: Callable[[], object], every_s: float, name: str) -> Iterator[None]:
    """Call `action` after every `every_s` seconds until the block ends; no call outlives it.

    Args:
        action: what to do; its errors end the thread, not the block.
        every_s: pause before each call, in seconds.
        name: of the thread.
    """
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(every_s):
            action()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
