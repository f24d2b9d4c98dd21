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
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.params.resolved import resolved
from pipeline.places import runs_folder
from pipeline.stages.filter_examples import EACH, write_examples
from pipeline.stages.filter_ledger import Found, write_ledger
from pipeline.stages.frame import StageContext, run_stage

if TYPE_CHECKING:
    import numpy as np

    from components.data.decisions import Decisions
    from components.data.score_files import ScoreFiles


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("filter", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", help="folder or URI of the source; default source.path")
    parser.add_argument("--heldout", help="held-out source, '' = split; default heldout_path")
    parser.add_argument("--scores", type=Path, required=True, help="folder of the scores")
    parser.add_argument("--encoders", type=Path, required=True, help="folder that holds clip/")
    parser.add_argument("--out", type=Path, required=True, help="folder for the training shards")
    parser.add_argument("--decisions", type=Path, required=True, help="Parquet file, a row each")
    parser.add_argument("--report", type=Path, required=True, help="JSON file of the counts")
    parser.add_argument("--plots", type=Path, required=True, help="folder for the charts")


def _plan(context: StageContext) -> dict[str, Any]:
    """Say what the thresholds would keep; needs the scores."""
    from components.data.filtering import make_report

    folder = context.arguments.scores
    if not folder.is_dir():
        return {"scores": f"{folder} is not there yet"}
    with _engine_folder(context) as work:
        found = _decided(context, work)
        return make_report(found.decisions, found.heldout_N) | found.by_source()


def _work(context: StageContext) -> None:
    with _engine_folder(context) as work:
        _tell_and_write(context, _decided(context, work))


def _tell_and_write(context: StageContext, found: Found) -> None:
    from components.data.filter_charts import write_charts
    from components.data.filtering import (
        check_enough,
        check_heldout,
        grey_facts,
        make_report,
        too_few,
    )
    from components.data.shards import write_json

    arguments, config = context.arguments, context.params.filter
    scores, decisions, heldout = found.scores, found.decisions, found.heldout_N
    kept = decisions.kept_N
    greys = (batch["grey_max"].drop_null().to_numpy() for _, batch in scores.batches(["grey_max"]))
    report = make_report(decisions, heldout) | found.by_source() | grey_facts(greys)
    write_ledger(arguments.decisions, found)
    charts = write_charts(arguments.plots, scores, kept, report)
    rejected = _examples(scores, decisions)
    sheet = write_examples(arguments.plots, rejected, arguments.source)
    charts += [sheet] if sheet else []
    # The counts and charts are written first: they show why a source is refused.
    write_json(arguments.report, report)
    check_enough(report, config, ", ".join(map(str, arguments.source)))
    if not arguments.heldout and context.params.source.heldout_fraction:
        check_heldout(report, *_groups(scores, kept), context.params.seed)
    counts = _write_shards(context, found)
    if counts is not None:
        write_json(arguments.report, report | {"heldout_source": counts})
    metrics = {"in": report["in"], "kept": report["kept"], "heldout": report["heldout"]}
    metrics |= {f"rejected.{reason}": count for reason, count in report["rejected"].items()}
    context.tracker.log_metrics({name: float(value) for name, value in metrics.items()})
    for path in (*charts, arguments.report):
        context.tracker.log_artifact(path)
    rejected = sum(report["rejected"].values())
    held_out = f", {report['heldout']:,} held out" if report["heldout"] else ""
    context.say(
        f"filter: {report['in']:,} in, {report['kept']:,} kept{held_out}, {rejected:,} rejected"
    )
    # A source of its own for the held-out images has counts of its own.
    held = counts["kept"] if counts is not None else int((kept & heldout).sum())
    for warning in too_few(int((kept & ~heldout).sum()), held):
        context.say(f"filter: warning: {warning}")


def _examples(scores: ScoreFiles, decisions: Decisions) -> Iterator[dict[str, Any]]:
    """Yield the first rejected rows of each reason in stored order; no file behind them is read."""
    import numpy as np

    reasons = range(1, len(decisions.reasons))
    firsts = [np.flatnonzero(decisions.codes_N == reason)[:EACH] for reason in reasons]
    wanted = np.sort(np.concatenate(firsts)) if firsts else np.empty(0, np.int64)
    if not len(wanted):
        return
    for at, batch in scores.batches(["shard", "offset", "num_bytes", "caption"], int(wanted[0])):
        here = wanted[(wanted >= at) & (wanted < at + len(batch))]
        for row in here.tolist():
            reason = decisions.reasons[decisions.codes_N[row]]
            yield batch.slice(row - at, 1).to_pylist()[0] | {"reason": reason}
        if wanted[-1] < at + len(batch):
            return


@contextmanager
def _engine_folder(context: StageContext) -> Iterator[Path]:
    """Give a folder of its own for what the decisions need on disk; nothing of it stays."""
    import shutil

    place = str(context.arguments.out.resolve())
    name = f"filter-engine-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    if context.arguments.dry_run:
        name += "-dry"
    folder = runs_folder() / name
    shutil.rmtree(folder, ignore_errors=True)  # of a try that was killed
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _decided(context: StageContext, work: Path) -> Found:
    from components.data.decisions import decide
    from components.data.filtering import copy_rules_of, rules_of
    from components.data.score_files import open_scores
    from components.data.scoring import score_schema
    from components.data.shares import sources_of_rows, with_shares

    params = context.params
    config, scorers = params.filter, params.score.scorers
    scores = open_scores(context.arguments.scores, score_schema(params.score), work)
    text = params.source.condition == "text"
    rules = rules_of(config, text=text, similarity="clip" in scorers)
    decisions = decide(scores, rules, copy_rules_of(config), work)
    origins = context.arguments.source
    source_N = sources_of_rows(scores, origins)
    weights = [origin.config.weight for origin in origins]
    if len(origins) > 1:
        keys = _texts(scores, "key", decisions.kept_N)
        decisions = with_shares(decisions, source_N, weights, keys, params.seed)
    names = tuple(origin.name for origin in origins)
    return Found(scores, decisions, _heldout(context, scores), source_N, names)


def _heldout(context: StageContext, scores: ScoreFiles) -> np.ndarray:
    """Return which rows are held out; none when there is a source of its own for that."""
    import numpy as np

    from components.data.filtering import in_heldout

    source = context.params.source
    if context.arguments.heldout or not source.heldout_fraction:
        return np.zeros(scores.num_rows, dtype=bool)
    return in_heldout(*_groups(scores), context.params.seed, source.heldout_fraction)


def _groups(
    scores: ScoreFiles, kept: np.ndarray | None = None
) -> tuple[Iterator[str], Iterator[str]]:
    """Return group and key of each row, or of each kept one; no list of them all is made."""
    return _texts(scores, "group", kept), _texts(scores, "key", kept)


def _texts(scores: ScoreFiles, column: str, kept: np.ndarray | None = None) -> Iterator[str]:
    for at, batch in scores.batches([column]):
        values = batch[column].to_pylist()
        yield from values if kept is None else compress(values, kept[at : at + len(values)])


def _write_shards(context: StageContext, found: Found) -> dict[str, Any] | None:
    """Write both splits; return the counts of the held-out sources if there are any."""
    import shutil

    from components.data.far_files import shown_uri
    from components.data.labels import Labels
    from components.data.shard_store import FILE as STORE_FILE
    from components.data.shard_store import move_to_store
    from components.data.shard_tables import ClipText
    from components.data.training_set import KeptSamples, heldout_samples, write_training_set
    from pipeline.cluster.inputs import share_folder
    from pipeline.cluster.on_actors import rows_on_ray

    arguments, source = context.arguments, context.params.source
    scores, kept, heldout = found.scores, found.decisions.kept_N, found.heldout_N
    origins = arguments.source
    counts: dict[str, int] = {}
    labels = Labels.of(set(_texts(scores, "label", kept)), source.label_kind)
    splits: dict[str, Any] = {"train": KeptSamples(scores, kept & ~heldout, origins)}
    if arguments.heldout:
        splits["heldout"] = heldout_samples(arguments.heldout, counts, labels)
    else:
        splits["heldout"] = KeptSamples(scores, kept & heldout, origins)
    ray = context.params.filter.backend == "ray"
    clip, text_encoder, facts = arguments.encoders / "clip", None, {}
    if source.condition == "text":
        text_encoder = ClipText(clip)
        if ray:
            text_encoder.place = share_folder(clip, context.params.cluster.store)
        facts = {"clip_sha256": json.loads((clip / "card.json").read_text())["sha256"]}
    facts |= found.shares()
    work = _work_folder(context, facts)
    on_ray = rows_on_ray(context.params.cluster, context.say, ordered=True) if ray else None
    write_training_set(
        splits,
        arguments.out,
        context.params.filter,
        source,
        labels,
        text_encoder,
        facts,
        work,
        on_ray,
    )
    shutil.rmtree(work, ignore_errors=True)
    (arguments.out / STORE_FILE).unlink(missing_ok=True)
    if store := context.params.filter.store:
        move_to_store(arguments.out, store)
        context.say(f"filter: the shards lie in {shown_uri(store)}")
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
    places = [origin.plain()["folder"] for origin in (*arguments.source, *arguments.heldout)]
    values = [scores, places, str(arguments.out.resolve()), facts, git_commit()]
    text = json.dumps([values, resolved(context.params, "filter")], sort_keys=True)
    return runs_folder() / f"filter-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


if __name__ == "__main__":
    sys.exit(main())
