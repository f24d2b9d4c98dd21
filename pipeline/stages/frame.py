"""The frame of every stage command: check parameters, run the work, time it, record it.

    def main(argv=None) -> int:
        return run_stage("score", arguments=_arguments, work=_work, plan=_plan, argv=argv)

Parameters are validated before `work` is called, and `work` does the heavy imports, so a wrong key
costs no time and writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.code_version import git_commit
from components.errors import Interrupted, printable
from pipeline.exit_codes import Parser, guarded
from pipeline.live.board import OFF, VARIABLE
from pipeline.params.resolved import plain, resolved
from pipeline.places import runs_folder, set_quiet_environment
from pipeline.stages.phases import phases

if TYPE_CHECKING:
    from components.data.config import SourceConfig
    from pipeline.params.sections import Params
    from pipeline.tracking.tracker import Tracker

# Whoever stops a stage wants it gone. What MLflow has not got by then waits in the spool.
_STOPPED_WAIT_S = 5.0


def _silent() -> Tracker:
    from pipeline.tracking.tracker import Tracker

    return Tracker.silent()


@dataclass(frozen=True)
class StageContext:
    """What a stage's work receives.

    Attributes:
        params: the validated parameters, one attribute per section.
        arguments: the stage's own paths, as pathlib.Path.
        tracker: the mirror to MLflow; it never raises and never blocks.
        say: prints one line for the user.
        session: filled by a training: its clock, for `phases`.
        facts: filled by the work: numbers of this machine, for the stage's record in runs/.
        pipeline: the mirror's run of the whole pipeline; it keeps nothing where there is none.
    """

    params: Params
    arguments: argparse.Namespace
    tracker: Tracker
    say: Callable[[str], None]
    session: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    pipeline: Tracker = field(default_factory=_silent)


def run_stage(
    name: str,
    *,
    arguments: Callable[[argparse.ArgumentParser], None],
    work: Callable[[StageContext], None],
    plan: Callable[[StageContext], dict[str, Any]] | None = None,
    argv: list[str] | None = None,
    may_download: bool = False,
) -> int:
    """Run one stage command and return its exit code.

    Args:
        name: the stage, as dvc.yaml names it (`score`, `train_base`, `superres@64`).
        arguments: adds the stage's own paths to the parser.
        work: does the stage's work.
        plan: says what `--dry-run` prints below the resolved parameters; it writes nothing.
        argv: the command line without the program; default sys.argv.
        may_download: whether the stage may reach the model hub.
    """
    argv = sys.argv[1:] if argv is None else argv
    options = _parse(name, arguments, argv)
    set_quiet_environment(may_download=may_download)
    if options.dry_run:
        return guarded(lambda: _dry_run(name, options, plan), options.debug)
    return guarded(lambda: _run(name, options, work, argv), options.debug)


def _parse(
    name: str, arguments: Callable[[argparse.ArgumentParser], None], argv: list[str]
) -> argparse.Namespace:
    parser = Parser(prog=f"python -m pipeline.stages.{name.partition('@')[0]}")
    arguments(parser)
    frame = parser.add_argument_group("every stage")
    frame.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    frame.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one parameter"
    )
    frame.add_argument(
        "--dry-run", action="store_true", help="print the resolved parameters; write nothing"
    )
    frame.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    frame.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def _with_source(options: argparse.Namespace, params: Params) -> None:
    """Put the user's sources in the place of what the command line tells of them, or tells not.

    Paths of the parameters pass through no shell: a folder may be called `Tom & Jerry`. One that
    the command line names stands for all, and is read as the first source is.
    """
    if not hasattr(options, "source"):
        return
    from components.data.origins import origins_of

    sources: Sequence[SourceConfig] = params.sources
    if options.source is not None:
        sources = [replace(params.source, path=options.source)]
    options.source = origins_of(sources)
    if hasattr(options, "heldout"):
        if options.heldout is not None:
            sources = [replace(params.source, heldout_path=options.heldout)]
        options.heldout = origins_of(sources, heldout=True)


def _dry_run(
    name: str,
    options: argparse.Namespace,
    plan: Callable[[StageContext], dict[str, Any]] | None,
) -> None:
    import yaml

    from pipeline.params.sections import load_params
    from pipeline.tracking.tracker import Tracker

    params = load_params(options.params, options.set)
    _with_source(options, params)
    shown = resolved(params, name)
    if plan is not None:
        context = StageContext(params, options, Tracker.silent(), _speaker())
        shown["plan"] = plain(plan(context))
    print(yaml.safe_dump(shown, sort_keys=False, width=100), end="")


def _run(
    name: str, options: argparse.Namespace, work: Callable[[StageContext], None], argv: list[str]
) -> None:
    from pipeline.params.sections import load_params
    from pipeline.stages.whole_run import open_whole_run
    from pipeline.tracking.tracker import open_stage_tracker

    params = load_params(options.params, options.set)
    _with_source(options, params)
    started, clock = datetime.now(UTC), time.monotonic()
    config = resolved(params, name)
    digest = hashlib.sha256(json.dumps([name, config], sort_keys=True).encode()).hexdigest()[:12]
    say = _speaker()
    if options.quiet:
        say, os.environ[VARIABLE] = _only_warnings(say), OFF
    pipeline = open_whole_run(params, say)
    tracker = open_stage_tracker(
        params.tracking,
        stage=name,
        fingerprint=digest,
        config=config,
        tags=_tags(name, argv, config),
        say=say,
        above=pipeline,
    )
    status = "FAILED"
    context = StageContext(params, options, tracker, say, pipeline=pipeline)
    try:
        work(context)
        status = "FINISHED"
    except (KeyboardInterrupt, Interrupted):
        status = "KILLED"
        raise
    finally:
        seconds = round(time.monotonic() - clock, 3)
        tracker.log_metrics({"stage_seconds": seconds})
        _close(status, params.tracking.flush_timeout_s, [tracker, pipeline])
    record = {
        "stage": name,
        "seconds": seconds,
        "phases": phases(started.timestamp(), context.session, started.timestamp() + seconds),
        "started_utc": started.isoformat(timespec="seconds"),
        "facts": context.facts,
        "cached": False,
        "command": _command(argv),
        "config": config,
        "git_commit": git_commit(),
        "tracking": tracker.identity,
    }
    write_stage_record(name, record)


def _close(status: str, wait_s: float, trackers: Sequence[Tracker]) -> None:
    """End the runs, which wait for MLflow `wait_s` together; a stopped stage waits less."""
    if status == "KILLED":
        wait_s = min(wait_s, _STOPPED_WAIT_S)
    limit = time.monotonic() + wait_s
    for tracker in trackers:
        tracker.close(status, wait_s=max(0.0, limit - time.monotonic()))


def write_stage_record(name: str, record: dict[str, Any]) -> None:
    """Write runs/stages/<name>.json in one step."""
    folder = runs_folder() / "stages"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^A-Za-z0-9_@.-]', '_', name)}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(temporary, path)


def _command(argv: list[str]) -> str:
    """Return what to type to run this stage again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    start = ["python", "-m", spec.name] if spec is not None else sys.argv[:1]
    return shlex.join([*start, *argv])


def _tags(name: str, argv: list[str], config: dict[str, Any]) -> dict[str, str]:
    tags = {"stage": name, "git.commit": git_commit(), "command": _command(argv)}
    tags["pipeline.run"] = os.environ.get("GANLINE_PIPELINE_RUN", "")
    tags["dvc.exp"] = os.environ.get("DVC_EXP_NAME", "")
    for section in config.values():
        if isinstance(section, dict) and "resolution_px" in section:
            tags["resolution"] = str(section["resolution_px"])
    return {key: value for key, value in tags.items() if value}


def _only_warnings(say: Callable[[str], None]) -> Callable[[str], None]:
    return lambda text: say(text) if "warning" in text.lower() else None


def _speaker() -> Callable[[str], None]:
    if not sys.stderr.isatty():
        return lambda text: print(printable(text), file=sys.stderr, flush=True)
    from rich.console import Console

    console = Console(stderr=True, highlight=True, soft_wrap=True)
    return lambda text: console.print(printable(text), markup=False)
