"""The version of the running code: the git commit of the folder that holds this file."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_commit() -> str:
    """Return the commit, with "-dirty" when files differ from it; "" without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    command += ["--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()
