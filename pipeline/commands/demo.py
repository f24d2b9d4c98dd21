"""`make demo`: run the whole graph, say what happens in few lines, and sum it up.

DVC runs as a child and decides what has to run; this only watches.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from components.errors import ConfigError, GanlineError, Interrupted
from pipeline.cluster.guardian import VARIABLE, Guardian
from pipeline.commands.summary import (
    PEAK,
    read_json,
    read_sources,
    summary_text,
    write_summary,
)
from pipeline.exit_codes import Parser, guarded
from pipeline.graph import needed_for, read_graph
from pipeline.live.left import Expected, expected
from pipeline.live.screen import Screen
from pipeline.places import runs_folder, set_quiet_environment
from pipeline.tracking.memory import PeakMemory

if TYPE_CHECKING:
    from pipeline.params.sections import Params

MARK = "GANLINE_DEMO_ID"
LOOKING = "source"  # runs each time: that alone is nothing done
# How DVC says that its lock, or a path of a stage, is another DVC's.
BUSY = ("Unable to acquire lock", "it is being blocked by")
PUBLISH = "publish"  # the one stage whose refusal is a result
# What DVC says about itself, of no use while watching.
NOISE = (
    "Updating lock file",
    "Generating lock file",
    "Use `dvc push`",
    "To track the changes",
    "To enable auto staging",
    "\tgit add",
    "Reproducing",
    "Verifying data",
)


class StageFailed(GanlineError):
    """A stage of the graph ended with an error of its own, which is already on the screen."""

    def __init__(self, stage: str, code: int) -> None:
        self.stage = stage
        what = f"stage {stage} ended with {code}"
        super().__init__(what, "see above", "correct it, then run `make demo` again")
        self.exit_code = code


class Busy(ConfigError):
    """Another DVC is at work in the same project."""

    def __init__(self) -> None:
        todo = "wait until it has ended, then run it again"
        super().__init__("another DVC is at work in this project", "make demo", todo)


class NotPublished(GanlineError):
    """The whole graph ran, and publish refused the model; the summary above says why."""

    def __init__(self, missed: int, code: int) -> None:
        todo = "train longer, or lower the threshold"
        super().__init__(f"not published: {missed} missed", "publish.thresholds", todo)
        self.exit_code = code


def demo(params: Path, arguments: list[str], *, quiet: bool = False) -> None:
    """Run `dvc repro`, then print and write the summary.

    Args:
        params: the file for the summary; DVC itself always reads params.yaml.
        arguments: passed on to `dvc repro`.
        quiet: say nothing before the summary but what a failed stage said.
    """
    from pipeline.params.inputs import require_inputs
    from pipeline.params.sections import load_params

    asked = load_params(params)
    require_inputs(asked, str(params))
    screen = Screen(stages_of(asked, params, arguments), quiet=quiet)
    set_quiet_environment()
    mark = uuid.uuid4().hex
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        MARK: mark,
        VARIABLE: str(Guardian.of_this_process()),  # What stages share ends with this command.
        "GANLINE_PIPELINE_RUN": mark[:12],
        "GANLINE_RUNS_DIR": str(runs_folder()),
        # dvc.yaml says `python`, and that has to be ours.
        "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
    }
    started, started_utc = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    memory = PeakMemory(MARK, mark)
    memory.start()
    with screen.drawn() as more:
        command = [sys.executable, "-m", "dvc", "repro", *arguments]
        ran, failure = _watch(command, environment | more, screen)
    peak_gib, seconds = memory.stop(), round(time.monotonic() - started, 3)
    if failure and not _refused(params, failure):
        for line in screen.last_words():
            print(line, file=sys.stderr)
        raise failure
    if ran:
        content = {"peak_memory_gib": round(peak_gib, 3), "stages": ran}
        content |= {"started_utc": started_utc, "seconds": seconds}
        runs_folder().mkdir(parents=True, exist_ok=True)
        (runs_folder() / PEAK).write_text(json.dumps(content) + "\n")
    sources = read_sources(params)
    summary, path = write_summary(sources)
    took = f"{time.monotonic() - started:.0f} s"
    if ran:
        print(f"\n{len(ran)} stages ran in {took}, the others were up to date")
    else:
        print(f"all is up to date: nothing was run ({took})")
    print(summary_text(summary, sources, path))
    if failure:
        raise NotPublished(len(summary["missed"]), failure.exit_code)


def stages_of(asked: Params, params: Path, arguments: list[str]) -> dict[str, Expected]:
    """Return the stages that the command may run, in order, and how long each will take.

    Args:
        asked: the parameters.
        params: their file.
        arguments: of `dvc repro`; its targets are among them.
    """
    nodes = read_graph(params)
    targets = [word for word in arguments if not word.startswith("-")]
    if targets and {"-s", "--single-item"} & set(arguments):
        nodes = [node for node in nodes if {node.name, node.stage} & set(targets)]
    elif targets:
        nodes = needed_for(nodes, targets)
    found = {}
    for node in nodes:
        section = getattr(asked, node.stage, None)
        config = section.get(node.key) if isinstance(section, dict) else section
        record = read_json(runs_folder() / "stages" / f"{node.name}.json")
        found[node.name] = expected(node.name, getattr(config, "total_kimg", 0.0), record)
    return found


def _refused(params: Path, failure: StageFailed) -> bool:
    """Whether publish ended because the model misses a threshold, and not by an error."""
    nodes = [node for node in read_graph(params) if node.name == failure.stage == PUBLISH]
    return any(read_json(node.metrics[0]).get("missed") for node in nodes if node.metrics)


def _watch(
    command: list[str], environment: dict[str, str], screen: Screen
) -> tuple[list[str], StageFailed | None]:
    """Run DVC, show its output tidily; return the names of the stages that ran, and what failed."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    ran: list[str] = []
    failure, last, busy = "", "", False
    try:
        for line in process.stdout:
            line = line.rstrip().rsplit("\r", 1)[-1]
            if match := re.match(r"Running stage '([^']+)'", line):
                last = match[1]
                ran += [last] if last != LOOKING else []
                screen.begin(last)
            elif match := re.match(r"Stage '([^']+)' (didn't change|is cached)", line):
                screen.skip(match[1])
            elif shown := tidy(line):
                screen.say(shown)
            if line.startswith("ERROR: failed to reproduce"):
                failure = line
            busy = busy or any(words in line for words in BUSY)
        code = process.wait()
    except KeyboardInterrupt as stop:
        name = str(stop) or "SIGINT"
        _end(process)
        raise Interrupted(f"stopped by {name}", "make demo", "run it again to continue") from None
    if code and busy:
        raise Busy
    if code:
        match = re.search(r"exited with (\d+)", failure)
        return ran, StageFailed(last or "dvc repro", int(match[1]) if match else 1)
    return ran, None


def tidy(line: str) -> str:
    """Return a line of a stage as the demo shows it, "" for what DVC says of itself."""
    if not line.strip() or line.startswith(("> ", *NOISE)):
        return ""
    return f"   {line}"


def _end(process: subprocess.Popen[str]) -> None:
    """Stop the stage, show its last words, and wait until it has saved its state.

    DVC stopped alone would leave it running; and where a whole process group is stopped, DVC ends
    at once, while this command must live as long as the stage: the Ray of the stages ends with it.
    """
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for child in [*below, process]:
        try:
            child.send_signal(signal.SIGTERM)
        except (psutil.Error, ProcessLookupError):
            continue
    # The pipe ends when the last one that may write into it has ended, DVC's child or nobody's.
    words = threading.Thread(target=_show, args=(process,), daemon=True)
    words.start()
    words.join(timeout=60)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def _show(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if shown := tidy(line.rstrip()):
            print(shown, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the demo; what follows `--` goes to `dvc repro`."""
    parser = Parser(
        prog="ganline repro",
        description="Check params.yaml, then run every stage that is not up to date; sum it up. "
        "`dvc repro` by itself deletes a stage's outputs before it finds a wrong key.",
        epilog="examples:\n  ganline repro\n  ganline repro train_base --quiet\n"
        "  ganline repro -- --force",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--quiet", action="store_true", help="say nothing before the summary, but for errors"
    )
    parser.add_argument("arguments", nargs="*", metavar="DVC_ARGUMENT")
    options = parser.parse_args(argv)
    return guarded(
        lambda: demo(Path("params.yaml"), options.arguments, quiet=options.quiet), options.debug
    )


if __name__ == "__main__":
    sys.exit(main())
