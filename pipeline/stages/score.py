"""Stage score: one row per sample of the source, with CLIP similarity, fingerprints and facts.

Example:

    python -m pipeline.stages.score --source data/raw/train --encoders artifacts/encoders
        --out data/scores
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.stages.frame import StageContext, run_stage

if TYPE_CHECKING:
    from components.data.scoring import MapParts


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("score", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, required=True, help="folder of the source")
    parser.add_argument("--encoders", type=Path, required=True, help="folder that holds clip/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scores")


def _plan(context: StageContext) -> dict[str, Any]:
    from components.data.sources import parts

    source, folder = context.params.source, context.arguments.source
    if not folder.is_dir():
        return {"source": f"{folder} is not there yet"}
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"parts": len(parts(source, folder)), "source_mib": round(size / 2**20, 1)}


def _work(context: StageContext) -> None:
    from components.data.scoring import score_rows, write_scores

    arguments, params = context.arguments, context.params
    rows = score_rows(
        params.source,
        arguments.source,
        arguments.encoders,
        params.score.batch,
        map_parts=_on_ray(context) if params.score.backend == "ray" else None,
    )
    facts = write_scores(rows, arguments.out)
    unread = sum(facts["reasons"].values())
    context.tracker.log_metrics({"rows": float(facts["rows"]), "unreadable": float(unread)})
    context.say(f"score: {facts['rows']:,} rows, {unread:,} of them unreadable")


def _on_ray(context: StageContext) -> MapParts:
    from pipeline.cluster.ray_door import map_batches

    def map_parts(
        items: list[dict[str, Any]], worker: type, arguments: dict[str, Any]
    ) -> list[dict[str, Any]]:
        # One part per call: a part is what an actor reads by itself.
        address = os.environ.get("RAY_ADDRESS", "")
        return map_batches(items, worker, arguments, 1, context.params.cluster, address)

    return map_parts


if __name__ == "__main__":
    sys.exit(main())
