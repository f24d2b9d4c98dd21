"""Stage score: one row per sample of the source, with CLIP similarity, fingerprints and facts.

Example:

    python -m pipeline.stages.score --source data/raw/train --encoders artifacts/encoders
        --out data/scores
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.places import runs_folder
from pipeline.stages.frame import StageContext, resolved, run_stage

if TYPE_CHECKING:
    from components.data.score_parts import MapParts


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("score", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, help="folder of the source; default source.path")
    parser.add_argument("--encoders", type=Path, required=True, help="folder that holds clip/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scores")


def _plan(context: StageContext) -> dict[str, Any]:
    from components.data.sources import parts, settled

    source, folder = context.params.source, context.arguments.source
    if not folder.is_dir():
        return {"source": f"{folder} is not there yet"}
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    kind = settled(source, folder).kind
    return {"kind": kind, "parts": len(parts(source, folder)), "source_mib": round(size / 2**20, 1)}


def _work(context: StageContext) -> None:
    import shutil

    from components.data.score_parts import score_source
    from components.data.sources import settled

    arguments, params = context.arguments, context.params
    if params.source.kind == "auto":
        kind = settled(params.source, arguments.source).kind
        context.say(f"score: took {arguments.source} for source.kind: {kind}")
    work = _work_folder(context)
    facts = score_source(
        params.source,
        arguments.source,
        arguments.encoders,
        params.score,
        work,
        arguments.out,
        map_parts=_on_ray(context) if params.score.backend == "ray" else None,
    )
    shutil.rmtree(work, ignore_errors=True)
    if facts["resumed"]:
        context.say(f"score: {facts['resumed']:,} parts were there from an earlier try")
    if facts["hidden"]["entries"]:
        names = ", ".join(facts["hidden"]["such_as"])
        context.say(f"score: {facts['hidden']['entries']:,} hidden entries are no data: {names}")
    unread = sum(facts["reasons"].values())
    context.tracker.log_metrics({"rows": float(facts["rows"]), "unreadable": float(unread)})
    why = ", ".join(f"{reason} {count:,}" for reason, count in facts["reasons"].items())
    context.say(f"score: {facts['rows']:,} rows, {unread:,} of them unreadable{why and ': ' + why}")


def _work_folder(context: StageContext) -> Path:
    """Return the folder of finished parts, outside of what DVC deletes before a stage."""
    arguments = context.arguments
    places = [str(path.resolve()) for path in (arguments.source, arguments.out)]
    text = json.dumps([places, resolved(context.params, "score")], sort_keys=True)
    return runs_folder() / f"score-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _on_ray(context: StageContext) -> MapParts:
    from pipeline.cluster.ray_door import map_batches

    def map_parts(
        items: list[dict[str, Any]], worker: type, arguments: dict[str, Any]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        # One part per call: a part is what an actor reads by itself.
        address = os.environ.get("RAY_ADDRESS", "")
        return map_batches(items, worker, arguments, 1, context.params.cluster, address)

    return map_parts


if __name__ == "__main__":
    sys.exit(main())
