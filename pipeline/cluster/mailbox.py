"""Messages from one process to another, in order, through a folder that both machines see.

A message is opened only where its seal is right: both sides have a key that lies in no file, so who
can write into the folder cannot make either side run anything.
"""

from __future__ import annotations

import hmac
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from components.errors import StorageError

LIMIT = 64  # unread messages: then the sender waits for the reader
_POLL_S = 0.1
_END = "end"
_SEAL = 32  # bytes


class Mailbox:
    """One way. The sender holds back while many messages lie unread; the reader deletes them.

    Args:
        folder: it is made in one that is there; one sender and one reader at a time.
        key: of both sides.
        check: called while one waits for the other; raises when the other is gone.
    """

    def __init__(self, folder: Path, key: str, check: Callable[[], None]) -> None:
        folder.mkdir(exist_ok=True)  # not its parents: a folder that was taken away stays away
        self._folder, self._key, self._check = folder, key.encode(), check
        self._sent = 0
        self._unread: deque[Path] = deque()

    def put(self, message: Any) -> None:
        """Send a message."""
        while len(self._unread) >= LIMIT:
            while self._unread and not self._unread[0].exists():
                self._unread.popleft()
            if len(self._unread) >= LIMIT:
                self._wait()
        path = self._folder / f"{self._sent:08d}"
        temporary = path.with_suffix(".tmp")
        content = pickle.dumps(message)
        temporary.write_bytes(self._seal(path, content) + content)
        os.replace(temporary, path)
        self._unread.append(path)
        self._sent += 1

    def close(self) -> None:
        """Say that no more messages come."""
        (self._folder / _END).write_text(str(self._sent))

    def __iter__(self) -> Iterator[Any]:
        """Yield the messages until the sender has closed.

        Raises:
            StorageError: a message is not the sender's.
        """
        number = 0
        while True:
            path = self._folder / f"{number:08d}"
            try:
                whole = path.read_bytes()
            except FileNotFoundError:
                if self._all_read(number):
                    return
                self._wait()
                continue
            seal, content = whole[:_SEAL], whole[_SEAL:]
            if not hmac.compare_digest(seal, self._seal(path, content)):
                todo = "run the same command again; see who writes into this folder"
                raise StorageError("a message that nobody has sent", str(path), todo)
            path.unlink()
            number += 1
            yield pickle.loads(content)

    def _seal(self, path: Path, content: bytes) -> bytes:
        """Return the seal of a message at its place: it is good for no other one."""
        place = f"{self._folder.name}/{path.name}:".encode()
        return hmac.digest(self._key, place + content, "sha256")

    def _all_read(self, number: int) -> bool:
        try:
            return int((self._folder / _END).read_text() or "-1") == number
        except FileNotFoundError:
            return False

    def _wait(self) -> None:
        self._check()
        time.sleep(_POLL_S)
