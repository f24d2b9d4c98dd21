"""Run stage commands as a user does, watch their run folders, and kill them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
# Far above what is needed: the machine may be busy, and no test here is about speed.
PATIENCE_S = 600


class Command(subprocess.Popen[str]):
    """A running command that knows where its words go."""

    def __init__(self, *args: Any, said: Path, **options: Any) -> None:
        self.said = said
        super().__init__(*args, **options)


def checkout(folder: Path) -> Path:
    """Copy the three packages, as a user's clone of the project would have them."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("pipeline", "components", "models"):
        shutil.copytree(REPOSITORY / package, folder / package, ignore=ignored)
    return folder


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a command: this interpreter first, one thread, no token."""
    hidden = ("RAY_ADDRESS", "GANLINE_RUNS_DIR", "PYTHONPATH")
    base = {key: value for key, value in os.environ.items() if key not in hidden}
    base["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{base['PATH']}"
    return base | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"} | extra


def start(folder: Path, *words: str, start_new_session: bool = False, **extra: str) -> Command:
    """Start `python -m <words>` in a folder; stderr goes to <folder>/log.txt."""
    log = (folder / "log.txt").open("a")
    command = [sys.executable, "-m", *words]
    options: dict[str, Any] = {"cwd": folder, "env": environment(**extra)}
    options |= {"stdout": log, "stderr": log, "start_new_session": start_new_session}
    return Command(command, text=True, said=folder / "log.txt", **options)


def run(folder: Path, *words: str, **extra: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it has said."""
    (folder / "log.txt").unlink(missing_ok=True)
    code = start(folder, *words, **extra).wait(PATIENCE_S)
    return code, (folder / "log.txt").read_text()


def train_words(*more: str, out: str = "artifacts/base") -> list[str]:
    """Return the words of a train_base command."""
    words = ["pipeline.stages.train_base", "--data", "data/train"]
    words += ["--encoders", "artifacts/encoders", "--out", out, *more]
    return words


def wait_for(condition: Callable[[], Any], process: Command) -> Any:
    """Poll until the condition holds; fail when the process ends before."""
    limit = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        said = process.said.read_text() if process.poll() is not None else ""
        assert process.poll() is None, f"the command ended too early:\n{said}"
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.02)
    return value


def nimg_of(run_dir: Path) -> int:
    """Return the images seen at the last line of a run's log, 0 without one."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in reversed(lines):
        try:
            return int(json.loads(line)["nimg"])
        except (ValueError, KeyError):
            continue
    return 0


def worker_of(run_dir: Path) -> int:
    """Return the process id of the worker that holds a run, 0 without one."""
    try:
        return int(json.loads((run_dir / "run.lock").read_text())["pid"])
    except (OSError, ValueError):
        return 0


def kill(pid: int) -> None:
    """End a process as the power does."""
    os.kill(pid, signal.SIGKILL)


def undisturbed(world: Path, folder: Path) -> Path:
    """Train the command's job in this process, without Ray; return the generator's file."""
    import argparse

    import torch

    from components.training.distributed import World
    from components.training.run import run_job
    from pipeline.params.sections import load_params
    from pipeline.stages.frame import StageContext
    from pipeline.stages.train import make_job
    from pipeline.tracking.tracker import Tracker

    paths = {"data": world / "data/train", "encoders": world / "artifacts/encoders"}
    options = argparse.Namespace(
        stage="train_base", px="", start=None, guidance=None, out=folder / "out", **paths
    )
    params = load_params(world / "params.yaml")
    job = make_job(StageContext(params, options, Tracker.silent(), print))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = dataclasses.replace(job, run_dir=str(folder / "run"), kept_in="")
        run_job(alone, World(), lambda line: None, "cpu")
    finally:
        torch.set_num_threads(threads)
    return folder / "run" / "artifact" / "generator.safetensors"
