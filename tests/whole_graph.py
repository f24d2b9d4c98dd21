"""A checkout of the whole project at the tiniest size, and commands in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.house_source import ROOT, files

TINY = ROOT / "tests" / "fixtures" / "tiny_params.yaml"
PATIENCE_S = 1200


def copy_project(folder: Path, params: Path) -> Path:
    """Copy the tracked files without what DVC keeps of their runs, as a commit of its own."""
    for name in files():
        if not name.startswith("reports/") and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    shutil.copy(params, folder / "params.yaml")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, env=environment_of(folder), check=True)
    return folder


def run_module(folder: Path, *command: str) -> str:
    """Run `python -m <command>` in the checkout and return what it said; it has to end well."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment_of(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout + done.stderr


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of a command in the checkout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "GANLINE_", "RAY_"))
    }
    return {
        **kept,
        "PATH": path,
        "PYTHONPATH": str(folder),
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@localhost",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@localhost",
    }
