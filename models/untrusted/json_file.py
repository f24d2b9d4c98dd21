"""Read a small JSON file that nobody trusts: a regular file, of bounded size, never a traceback."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

BYTES_LIMIT = 64 * 2**20


def read_json(path: Path, bytes_limit: int = BYTES_LIMIT) -> Any:
    """Return the value of a UTF-8 JSON file.

    Pipes, devices and sockets are not opened: reading one may never end.

    Raises:
        OSError: it is missing, no regular file, or may not be read.
        ValueError: it is larger than `bytes_limit`, not UTF-8, no JSON, or nested too deeply.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path.name} is no regular file")
    with path.open("rb") as file:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes > bytes_limit:
            raise ValueError(f"{num_bytes:,} bytes, more than {bytes_limit:,}")
        text = file.read(num_bytes).decode("utf-8")  # Python sets aside all that it is asked for
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
