"""Stage score: one row per sample of the source, with CLIP similarity, fingerprints and facts.

Example:

    python -m pipeline.stages.score --source data/raw/train --encoders artifacts/encoders
        --out data/scores
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from pipeline.params.resolved import resolved
from pipeline.places import runs_folder
from pipeline.stages.frame import StageContext, run_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("score", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="folder or URI of the source; default source.path")
    parser.add_argument("--encoders", type=Path, required=True, help="folder that holds clip/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the scores")


def _plan(context: StageContext) -> dict[str, Any]:
    from components.data.file_tree import is_folder, look, state_of
    from components.data.origins import parts_of
    from components.data.sources import settled

    origins = context.arguments.source
    absent = [str(origin) for origin in origins if not is_folder(origin.folder)]
    if absent:
        return {"source": f"{', '.join(absent)} is not there yet"}
    sizes = (state_of(o.folder, file)[0] for o in origins for file in look(o.folder).files)
    kinds = [settled(origin.config, origin.folder).kind for origin in origins]
    size_mib = round(sum(sizes) / 2**20, 1)
    kind = kinds[0] if len(kinds) == 1 else kinds
    return {"kind": kind, "parts": len(parts_of(origins)), "source_mib": size_mib}


def _work(context: StageContext) -> None:
    import shutil

    from components.data.score_parts import score_source
    from components.data.sources import settled
    from pipeline.cluster.on_actors import rows_on_ray

    arguments, params = context.arguments, context.params
    for origin in arguments.source:
        if origin.config.kind == "auto":
            kind = settled(origin.config, origin.folder).kind
            context.say(f"score: took {origin} for source.kind: {kind}")
    work, on_ray = _work_folder(context), None
    if params.score.backend == "ray":
        on_ray = rows_on_ray(params.cluster, context.say, folders=("encoders",))
    facts = score_source(
        arguments.source,
        arguments.encoders,
        params.score,
        work,
        arguments.out,
        map_parts=on_ray,
    )
    shutil.rmtree(work, ignore_errors=True)
    if facts["resumed"]:
        context.say(f"score: {facts['resumed']:,} parts were there from an earlier try")
    if facts["hidden"]["entries"]:
        names = ", ".join(facts["hidden"]["such_as"])
        context.say(f"score: {facts['hidden']['entries']:,} hidden entries are no data: {names}")
    if lost := facts.get("unreachable"):
        told = f"{lost['rows']:,} rows lost, and an unknown number of {lost['unknown']:,} of them"
        context.say(f"score: {lost['parts']:,} parts could not be read from their store: {told}")
    unread = sum(facts["reasons"].values())
    context.tracker.log_metrics({"rows": float(facts["rows"]), "unreadable": float(unread)})
    why = ", ".join(f"{reason} {count:,}" for reason, count in facts["reasons"].items())
    context.say(f"score: {facts['rows']:,} rows, {unread:,} of them unreadable{why and ': ' + why}")


def _work_folder(context: StageContext) -> Path:
    """Return the folder of finished parts, outside of what DVC deletes before a stage."""
    arguments = context.arguments
    places = [*(origin.plain()["folder"] for origin in arguments.source)]
    places.append(str(arguments.out.resolve()))
    text = json.dumps([places, resolved(context.params, "score")], sort_keys=True)
    return runs_folder() / f"score-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


if __name__ == "__main__":
    sys.exit(main())
