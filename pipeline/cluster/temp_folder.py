"""Find a folder for a private Ray's sockets: a path of its own must fit into 107 bytes.

Ray takes TMPDIR, and adds about 64 characters to it. A longer one, a missing one or one with a
space ends Ray at its start with an error of its own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from components.errors import ConfigError

SOCKET_LIMIT = 107  # bytes of a path in sockaddr_un
# Ray's part: /ray/session_2026-01-31_12-34-56_123456_4194304/sockets/plasma_store
RAYS_PART = len("/ray/session_2026-01-31_12-34-56_123456_4194304/sockets/plasma_store")
LONGEST = SOCKET_LIMIT - RAYS_PART
NAME = "RAY_TMPDIR"
_OTHERS = ("/tmp", "/var/tmp", "/dev/shm")


def unsuitable(folder: str) -> str:
    """Return why Ray cannot have its sockets in a folder, '' when it can."""
    length = len(os.fsencode(folder))
    if length > LONGEST:
        return f"its path has {length} bytes, Ray has room for {LONGEST}"
    if any(character.isspace() for character in folder):
        return "there is a space in its path"
    if not Path(folder).is_absolute():
        return "it is no absolute path"
    if not Path(folder).is_dir():
        return "there is no such folder"
    return "" if os.access(folder, os.W_OK | os.X_OK) else "it is not writable"


def ray_folder() -> str:
    """Return the folder that a private Ray makes its own one in.

    RAY_TMPDIR if it is set; else TMPDIR where Ray can use it, else a short folder of the system.

    Raises:
        ConfigError: RAY_TMPDIR cannot be used, or nothing can.
    """
    asked = os.environ.get(NAME)
    if asked:
        if problem := unsuitable(asked):
            todo = f"set it to a writable folder of at most {LONGEST} characters, or unset it"
            raise ConfigError(f"{asked}: {problem}", NAME, todo)
        return asked
    wanted = os.environ.get("TMPDIR") or tempfile.gettempdir()
    tried = [wanted, *(other for other in _OTHERS if other != wanted)]
    for folder in tried:
        if not unsuitable(folder):
            return folder
    problems = "; ".join(f"{folder}: {unsuitable(folder)}" for folder in tried)
    todo = f"set {NAME} to a writable folder of at most {LONGEST} characters"
    raise ConfigError(f"no folder for Ray's sockets: {problems}", "TMPDIR", todo)
