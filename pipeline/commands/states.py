"""`ganline states`: list the resumable states of a run, and verify every one of them.

ganline states runs/train_base-0123456789ab
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from components.errors import StorageError, printable
from pipeline.exit_codes import Parser, guarded
from pipeline.places import runs_folder, set_quiet_environment

EXAMPLES = """examples:
  ganline states train_base-0123456789ab
  ganline states runs/train_base-0123456789ab
  ganline states runs/train_base-0123456789ab --json
"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline states`; 5 when a state is damaged."""
    parser = Parser(
        prog="ganline states",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="folder of the run, or its name in the runs folder")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of lines")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    set_quiet_environment()
    return guarded(lambda: _show(options.run, as_json=options.json), options.debug)


def examine(run: Path) -> list[dict[str, Any]]:
    """Return the states of a run, oldest first: {name, nimg, bytes, problem ("" = whole), aside}.

    Raises:
        StorageError: there is no such run, or it has no state.
    """
    from components.training.store import StateStore

    run = run if run.exists() else runs_folder() / run
    if not run.is_dir():
        raise StorageError("there is no such run", str(run), "name a folder of runs/")
    found = StateStore(folder=run / "states").examine()
    if not found:
        raise StorageError("no states", str(run / "states"), "the run has not saved one yet")
    return found


def _show(run: Path, *, as_json: bool) -> None:
    found = examine(run)
    if as_json:
        print(json.dumps(found, indent=1))
    whole = [state for state in found if not state["problem"]]
    for state in () if as_json else found:
        size = f"{state['bytes'] / 2**20:,.1f} MiB"
        mark = "  <- the next start continues here" if whole and state is whole[-1] else ""
        line = f"{state['name']:<28} {state['nimg'] / 1000:>12,.3f} kimg {size:>14}  "
        print(printable(line + (state["problem"] or "whole") + mark))
    sys.stdout.flush()
    damaged = [state["name"] for state in found if state["problem"]]
    if damaged:
        todo = "the next start falls back to the newest whole one; --no-fallback refuses instead"
        if not whole:
            todo = "the next start begins anew; bring the states back from a copy to continue"
        what = f"{len(damaged)} of {len(found)} states are damaged: {', '.join(damaged[:4])}"
        raise StorageError(what, str(run), todo)


if __name__ == "__main__":
    sys.exit(main())
