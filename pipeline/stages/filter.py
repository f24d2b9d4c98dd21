"""Stage filter: apply the thresholds to the scores, and write the kept samples as training shards.

Example:

    python -m pipeline.stages.filter --source data/raw/train --heldout "" --scores data/scores
        --encoders artifacts/encoders --out data/train --decisions data/decisions.parquet
        --report reports/filter.json --plots reports/filter
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.stages.frame import StageContext, run_stage

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("filter", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, required=True, help="folder of the source")
    parser.add_argument("--heldout", default="", help='folder of the held-out source, "" = split')
    parser.add_argument("--scores", type=Path, required=True, help="folder of the scores")
    parser.add_argument("--encoders", type=Path, required=True, help="folder that holds clip/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the training shards")
    parser.add_argument("--decisions", type=Path, required=True, help="Parquet file, a row each")
    parser.add_argument("--report", type=Path, required=True, help="JSON file of the counts")
    parser.add_argument("--plots", type=Path, required=True, help="folder for the charts")


def _plan(context: StageContext) -> dict[str, Any]:
    """Say what the thresholds would keep; needs the scores."""
    from components.data.filtering import decide, in_stored_order, make_report
    from components.data.scoring import SCORE_SCHEMA
    from components.data.shards import read_shards

    folder = context.arguments.scores
    if not folder.is_dir():
        return {"scores": f"{folder} is not there yet"}
    scores = in_stored_order(read_shards(folder, "scores", SCORE_SCHEMA))
    text = context.params.source.condition == "text"
    reasons = decide(scores, context.params.filter, text=text)
    return make_report(reasons, _heldout(context, scores))


def _work(context: StageContext) -> None:
    from components.data.filter_charts import write_charts
    from components.data.filtering import (
        check_enough,
        decide,
        in_stored_order,
        make_report,
        too_few,
    )
    from components.data.scoring import SCORE_SCHEMA
    from components.data.shards import read_shards, write_json

    arguments, config = context.arguments, context.params.filter
    scores = in_stored_order(read_shards(arguments.scores, "scores", SCORE_SCHEMA))
    reasons = decide(scores, config, text=context.params.source.condition == "text")
    kept, heldout = reasons == "", _heldout(context, scores)
    report = make_report(reasons, heldout)
    _write_decisions(arguments.decisions, scores, reasons, heldout)
    similarity = scores["clip_similarity"].fill_null(float("nan")).to_numpy()
    charts = write_charts(arguments.plots, similarity, kept, report)
    # The counts and charts are written first: they show why a source is refused.
    write_json(arguments.report, report)
    check_enough(report, config, str(arguments.source))
    counts = _write_shards(context, scores, kept, heldout)
    if counts is not None:
        write_json(arguments.report, report | {"heldout_source": counts})
    metrics = {"in": report["in"], "kept": report["kept"], "heldout": report["heldout"]}
    metrics |= {f"rejected.{reason}": count for reason, count in report["rejected"].items()}
    context.tracker.log_metrics({name: float(value) for name, value in metrics.items()})
    for path in (*charts, arguments.report):
        context.tracker.log_artifact(path)
    rejected = sum(report["rejected"].values())
    context.say(f"filter: {report['in']:,} in, {kept.sum():,} kept, {rejected:,} rejected")
    # A source of its own for the held-out images has counts of its own.
    held = counts["kept"] if counts is not None else int((kept & heldout).sum())
    for warning in too_few(int((kept & ~heldout).sum()), held):
        context.say(f"filter: warning: {warning}")


def _heldout(context: StageContext, scores: pa.Table) -> np.ndarray:
    """Return which rows are held out; none when there is a source of its own for that."""
    from components.data.filtering import in_heldout

    source = context.params.source
    fraction = 0.0 if context.arguments.heldout else source.heldout_fraction
    groups, keys = scores["group"].to_pylist(), scores["key"].to_pylist()
    return in_heldout(groups, keys, context.params.seed, fraction)


def _write_decisions(
    path: Path, scores: pa.Table, reasons: np.ndarray, heldout: np.ndarray
) -> None:
    import numpy as np
    import pyarrow as pa

    from components.data.shards import write_table

    kept = reasons == ""
    split = np.where(kept, np.where(heldout, "heldout", "train"), "")
    table = scores.select(["key", "shard", "offset"])
    table = table.append_column("kept", pa.array(kept))
    table = table.append_column("reason", pa.array(reasons.tolist(), pa.string()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, table.append_column("split", pa.array(split.tolist(), pa.string())))


def _write_shards(
    context: StageContext, scores: pa.Table, kept: np.ndarray, heldout: np.ndarray
) -> dict[str, Any] | None:
    """Write both splits; return the counts of the held-out source if there is one."""
    import json

    from components.data.training_set import (
        ClipText,
        Labels,
        heldout_samples,
        kept_samples,
        write_training_set,
    )

    arguments, source = context.arguments, context.params.source
    counts: dict[str, int] = {}
    labels = Labels.of(scores.filter(kept)["label"].to_pylist())
    splits = {"train": kept_samples(scores, kept & ~heldout, source, arguments.source)}
    if arguments.heldout:
        splits["heldout"] = heldout_samples(source, Path(arguments.heldout), counts, labels)
    else:
        splits["heldout"] = kept_samples(scores, kept & heldout, source, arguments.source)
    clip, text_encoder, facts = arguments.encoders / "clip", None, {}
    if source.condition == "text":
        text_encoder = ClipText(clip)
        facts = {"clip_sha256": json.loads((clip / "card.json").read_text())["sha256"]}
    write_training_set(
        splits,
        arguments.out,
        context.params.filter,
        source.background_rgb,
        labels,
        text_encoder,
        facts,
    )
    if not arguments.heldout:
        return None
    good = counts.pop("", 0)
    return {"in": good + sum(counts.values()), "kept": good, "rejected": counts}


if __name__ == "__main__":
    sys.exit(main())
