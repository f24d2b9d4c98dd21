"""`dvc repro` of the whole graph at the tiniest size, in the background."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


class WholeGraph:
    """Copy the tracked files, put the tiny params in, and start all stages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        copy_project(folder, TINY)
        self._log = folder.parent / "repro.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "repro"],
                cwd=folder,
                env=environment_of(folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        """Wait for the end and return what was said; a stage that failed fails the test."""
        try:
            code: int | str = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            code = f"nothing after {PATIENCE_S} s"
        said = self._log.read_text()
        assert code == 0, f"dvc repro ended with {code}\n{said}"
        return said

    def end(self) -> None:
        """Stop what still runs, as when the tests are interrupted."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


STARTED = pytest.StashKey[WholeGraph]()


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
