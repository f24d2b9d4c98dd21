"""The whole graph under DVC, interrupted at every stage: nothing half made is taken for done.

A share of the campaign (GANLINE_FUZZ) interrupts some stages: each way of ending once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.fuzz.mutations import count
from tests.test_end_to_end import STAGES
from tests.whole_graph import TINY, copy_project, environment_of, run_module

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(3_000)]
PATIENCE_S = 600
# How a run of an hour ends: Ctrl-C, the power, `timeout` or Slurm.
LOOKING = "Running stage 'source':"
ENDS = (signal.SIGINT, signal.SIGKILL, signal.SIGTERM)


class Graph:
    """A command that runs the graph in a process group of its own, and what it has said."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder, self.log = folder, folder.parent / "said.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=folder,
                env={**environment_of(folder), "PYTHONFAULTHANDLER": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell lets what it starts in the background ignore Ctrl-C, and so do we then.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str) -> bool:
        """Wait until the text is said; False when the command ended without it."""
        limit = time.monotonic() + PATIENCE_S
        while text not in self.said():
            if self.process.poll() is not None:
                return text in self.said()
            assert time.monotonic() < limit, self.said()
            time.sleep(0.05)
        return True

    def end(self, number: int) -> int:
        """Send a signal to the whole group; return the exit code when all that it began is gone.

        What does not end writes where each of its threads stands, and is named with what was said.
        """
        below = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, number)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGABRT)  # to faulthandler
            psutil.wait_procs(below, timeout=40)
            raise AssertionError(f"not ended a minute after {number}: {self.said()}") from None
        _, left = psutil.wait_procs(below, timeout=40)
        # One that has ended and waits for init to take note of it is gone, too.
        told = [about for process in left if (about := living(process))]
        assert not told, "left behind: " + "; ".join(told)
        return code


def living(process: psutil.Process) -> str:
    """Return what a process is and does, "" when it has ended."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        used = sum(process.cpu_times()[:2])
        command = " ".join(process.cmdline())[:200]
        return f"{process.pid} {process.status()}, {used:.1f} processor seconds: {command}"
    except psutil.NoSuchProcess:
        return ""


def done(folder: Path) -> set[str]:
    """Return the stages that DVC's lock file holds."""
    path = folder / "dvc.lock"
    return set(yaml.safe_load(path.read_text())["stages"]) if path.is_file() else set()


@pytest.mark.row("C5")
def test_every_stage_is_interrupted_and_the_next_repro_goes_on(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "project", TINY)
    turns = max(len(ENDS), count(len(STAGES)))
    for turn in range(turns):
        stage = STAGES[turn * len(STAGES) // turns]
        graph = Graph(folder, "dvc", "repro", stage)
        assert graph.wait_for(f"Running stage '{stage}'"), graph.said()
        before = done(folder)
        assert stage not in before
        time.sleep(0.4 + 0.2 * (turn % 4))  # in its imports, its work, its end
        ended_before = stage in done(folder)
        code = graph.end(ENDS[turn % len(ENDS)])
        if not ended_before and code != 0:
            assert done(folder) == before, graph.said()
            wanted = subprocess.run(
                [sys.executable, "-m", "dvc", "repro", "--dry", stage],
                cwd=folder,
                env=environment_of(folder),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            assert f"Running stage '{stage}'" in wanted
            # `source` looks each time whether the data changed: that runs nothing again.
            ran = [line for line in wanted.splitlines() if line.startswith("Running stage")]
            ran = ran[1:] if stage != "source" and ran[0] == LOOKING else ran
            assert ran[0] == f"Running stage '{stage}':", "an earlier stage would run again"
    said = run_module(folder, "dvc", "repro")
    assert "Running stage" in said
    again = run_module(folder, "dvc", "repro").splitlines()
    assert [x for x in again if x.startswith("Running stage")] == [LOOKING]
