"""Stage source: look whether anything changed in the user's data, wherever it is.

It runs each time, in seconds: a list of sources, or a folder of a store, is nothing that DVC could
watch. What it writes is the same as long as the data are, and then no later stage runs again.

Example:

    python -m pipeline.stages.source --source data/raw/train --heldout "" --out data/source.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipeline.places import runs_folder
from pipeline.stages.frame import StageContext, run_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("source", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="folder or URI of the source; default source.path")
    parser.add_argument("--heldout", help="held-out source, '' = none; default heldout_path")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of hashes")


def _plan(context: StageContext) -> dict[str, Any]:
    given = context.arguments
    return {"source": list(map(str, given.source)), "heldout": list(map(str, given.heldout))}


def _work(context: StageContext) -> None:
    from components.data.shards import write_json
    from components.data.source_state import state_of_source

    memory = runs_folder() / "source-files.sqlite"
    found = {
        name: [state_of_source(origin, memory) for origin in getattr(context.arguments, name)]
        for name in ("source", "heldout")
    }
    write_json(context.arguments.out, found)
    for one in found["source"]:
        size = one["bytes"] / 2**20
        context.say(f"source: {one['files']:,} files, {size:,.1f} MiB in {one['path']}")


if __name__ == "__main__":
    sys.exit(main())
