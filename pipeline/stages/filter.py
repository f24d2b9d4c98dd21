"""Stage filter: apply the thresholds to the scores, and write the kept samples as training shards.

Example:

    python -m pipeline.stages.filter --source data/raw/train --heldout "" --scores data/scores
        --encoders artifacts/encoders --out data/train --decisions data/decisions.parquet
        --report reports/filter.json --plots reports/filter
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.places import runs_folder
from pipeline.stages.filter_examples import EACH, write_examples
from pipeline.stages.frame import StageContext, resolved, run_stage

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_ROWS_AT_ONCE = 65_536


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("filter", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, help="folder of the source; default source.path")
    parser.add_argument("--heldout", help="held-out source, '' = split; default heldout_path")
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
        check_heldout,
        decide,
        grey_facts,
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
    report = make_report(reasons, heldout) | grey_facts(scores)
    _write_decisions(arguments.decisions, scores, reasons, heldout)
    similarity = scores["clip_similarity"].fill_null(float("nan")).to_numpy()
    charts = write_charts(arguments.plots, similarity, kept, report)
    sheet = write_examples(
        arguments.plots, _examples(scores, reasons), context.params.source, arguments.source
    )
    charts += [sheet] if sheet else []
    # The counts and charts are written first: they show why a source is refused.
    write_json(arguments.report, report)
    check_enough(report, config, str(arguments.source))
    if not arguments.heldout and context.params.source.heldout_fraction:
        check_heldout(report, *_groups(scores.filter(kept)), context.params.seed)
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


def _examples(scores: pa.Table, reasons: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the first rejected rows of each reason."""
    import numpy as np

    columns = scores.select(["shard", "offset", "num_bytes", "caption"])
    for reason in sorted(set(reasons.tolist()) - {""}):
        for at in np.flatnonzero(reasons == reason)[:EACH]:
            yield columns.slice(int(at), 1).to_pylist()[0] | {"reason": str(reason)}


def _heldout(context: StageContext, scores: pa.Table) -> np.ndarray:
    """Return which rows are held out; none when there is a source of its own for that."""
    from components.data.filtering import in_heldout

    source = context.params.source
    fraction = 0.0 if context.arguments.heldout else source.heldout_fraction
    return in_heldout(*_groups(scores), context.params.seed, fraction)


def _groups(scores: pa.Table) -> tuple[Iterator[str], Iterator[str]]:
    """Return group and key of each row; no list of them all is made."""
    return _texts(scores["group"]), _texts(scores["key"])


def _texts(column: pa.ChunkedArray) -> Iterator[str]:
    for at in range(0, len(column), _ROWS_AT_ONCE):
        yield from column.slice(at, _ROWS_AT_ONCE).to_pylist()


def _write_decisions(
    path: Path, scores: pa.Table, reasons: np.ndarray, heldout: np.ndarray
) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from components.data.shards import write_table

    kept = reasons == ""
    split = np.where(kept, np.where(heldout, 2, 1), 0).astype(np.int8)
    names = pa.array(["", "train", "heldout"])
    table = scores.select(["key", "shard", "offset"])
    table = table.append_column("kept", pa.array(kept))
    table = table.append_column("reason", pa.array(reasons, pa.string()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, table.append_column("split", pc.take(names, pa.array(split))))


def _write_shards(
    context: StageContext, scores: pa.Table, kept: np.ndarray, heldout: np.ndarray
) -> dict[str, Any] | None:
    """Write both splits; return the counts of the held-out source if there is one."""
    import shutil

    from components.data.labels import Labels
    from components.data.training_set import (
        ClipText,
        KeptSamples,
        heldout_samples,
        write_training_set,
    )

    arguments, source = context.arguments, context.params.source
    counts: dict[str, int] = {}
    names = scores.filter(kept)["label"].unique().to_pylist()
    labels = Labels.of(names, source.label_kind)
    splits: dict[str, Any] = {
        "train": KeptSamples(scores, kept & ~heldout, source, arguments.source)
    }
    if arguments.heldout:
        splits["heldout"] = heldout_samples(source, Path(arguments.heldout), counts, labels)
    else:
        splits["heldout"] = KeptSamples(scores, kept & heldout, source, arguments.source)
    clip, text_encoder, facts = arguments.encoders / "clip", None, {}
    if source.condition == "text":
        text_encoder = ClipText(clip)
        facts = {"clip_sha256": json.loads((clip / "card.json").read_text())["sha256"]}
    work = _work_folder(context, facts)
    write_training_set(
        splits,
        arguments.out,
        context.params.filter,
        source,
        labels,
        text_encoder,
        facts,
        work,
    )
    shutil.rmtree(work, ignore_errors=True)
    if text_encoder is not None and text_encoder.cut:
        length = text_encoder.context_length
        context.say(f"filter: {text_encoder.cut:,} captions cut at {length} tokens")
    if not arguments.heldout:
        return None
    good = counts.pop("", 0)
    return {"in": good + sum(counts.values()), "kept": good, "rejected": counts}


def _work_folder(context: StageContext, facts: dict[str, Any]) -> Path:
    """Return the folder of finished shards, outside of what DVC deletes before a stage.

    Its name holds all that the shards depend on.
    """
    from components.code_version import git_commit
    from components.data.shards import file_sha256

    arguments = context.arguments
    scores = [file_sha256(path) for path in sorted(arguments.scores.glob("scores-*.parquet"))]
    places = [str(path.resolve()) for path in (arguments.source, arguments.out)]
    values = [scores, places, arguments.heldout, facts, git_commit()]
    text = json.dumps([values, resolved(context.params, "filter")], sort_keys=True)
    return runs_folder() / f"filter-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


if __name__ == "__main__":
    sys.exit(main())
