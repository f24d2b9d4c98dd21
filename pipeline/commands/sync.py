"""`ganline sync`: send to MLflow what could not be sent while a stage ran."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from components.errors import StorageError
from pipeline.exit_codes import Parser, guarded
from pipeline.places import runs_folder, set_quiet_environment
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.spool import Spool, grouped


def sync(config: TrackingConfig, runs: Path, say: Callable[[str], None]) -> int:
    """Send every unsent line of every run that no living process holds; return how many went out.

    Raises:
        StorageError: when MLflow cannot be reached; what was sent until then stays sent.
    """
    sent = 0
    # The runs of whole pipelines first: those of stages hang below them.
    paths = (runs / "tracking").glob("*.jsonl")
    for path in sorted(paths, key=lambda path: (not path.name.startswith("pipeline-"), path)):
        spool = Spool(path)
        if not spool.hold():
            say(f"{path.name}: still running, left alone")
            continue
        try:
            count = _send_rest(spool, config, runs)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            todo = "start MLflow or correct MLFLOW_TRACKING_URI, then run `ganline sync` again"
            raise StorageError(f"MLflow does not answer: {text}", str(path), todo) from error
        finally:
            spool.release()
        if count:
            say(f"{path.name}: {count} lines sent")
        sent += count
    say(f"{sent} lines sent, nothing is waiting")
    return sent


def _send_rest(spool: Spool, config: TrackingConfig, runs: Path) -> int:
    last, run_id = spool.sent()
    waiting = [event for event in spool.events() if event["seq"] > last]
    if not waiting:
        return 0
    from pipeline.tracking.mlflow_door import open_door

    door = open_door(config, runs)
    for group in grouped(waiting):
        run_id = door.send(run_id, group, in_doubt=True)
        spool.mark_sent(group[-1]["seq"], run_id)
    spool.drop_copies()
    return len(waiting)


def main(argv: list[str] | None = None) -> int:
    """Run `ganline sync`."""
    parser = Parser(
        prog="ganline sync",
        description=__doc__,
        epilog="examples:\n"
        "  ganline sync\n"
        "  ganline sync --params presets/shapes_long.yaml\n"
        "  MLFLOW_TRACKING_URI=http://server:5000 ganline sync\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)

    def work() -> None:
        from pipeline.params.sections import load_params

        set_quiet_environment()
        sync(load_params(options.params).tracking, runs_folder(), print)

    return guarded(work, options.debug)
