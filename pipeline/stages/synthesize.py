"""Stage synthesize: draw the embedded default's corpus, with its dirt and the truth about it.

Example:

    python -m pipeline.stages.synthesize --raw data/raw --truth data/truth
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pipeline.stages.frame import StageContext, run_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("synthesize", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--raw", type=Path, required=True, help="folder for the tars")
    parser.add_argument("--truth", type=Path, required=True, help="folder for the truth table")


def _plan(context: StageContext) -> dict[str, Any]:
    from components.data.corpus import estimate_bytes, split_sizes

    config = context.params.synthesize
    return {"rows": split_sizes(config), "disk_mib": round(estimate_bytes(config) / 2**20, 1)}


def _work(context: StageContext) -> None:
    from components.data.corpus import write_corpus

    arguments, config = context.arguments, context.params.synthesize
    manifest = write_corpus(config, context.params.seed, arguments.raw, arguments.truth)
    rows = {s: sum(shard["rows"] for shard in shards) for s, shards in manifest["splits"].items()}
    context.tracker.log_metrics({f"rows_{split}": float(n) for split, n in rows.items()})
    if not config.pairs:
        context.say("synthesize: pairs is 0, nothing drawn")
        return
    context.say("synthesize: " + ", ".join(f"{n:,} {split}" for split, n in rows.items()))


if __name__ == "__main__":
    sys.exit(main())
