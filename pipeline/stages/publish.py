"""Stage publish: write the release and register it, if the model is good enough.

It makes the release folder, the model card and the registered model; it refuses what is not good
enough.

    python -m pipeline.stages.publish --model artifacts/px64 --encoders artifacts/encoders
        --evaluation artifacts/evaluation --out artifacts/release --report reports/publish.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from components.errors import DataError
from pipeline.stages.frame import StageContext, run_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage."""
    return run_stage("publish", arguments=_arguments, work=_work, plan=_plan, argv=argv)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--encoders", type=Path, required=True, metavar="DIR")
    parser.add_argument("--evaluation", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--report", type=Path, required=True, metavar="FILE")


def _plan(context: StageContext) -> dict[str, Any]:
    config = context.params.publish
    return {
        "release": str(context.arguments.out),
        "registered_model": config.model_name if config.register else None,
        "refuses_unless": {name: vars(t) for name, t in config.thresholds.items()},
    }


def _work(context: StageContext) -> None:
    from components.artifacts.publishing import (
        few_held_out,
        is_champion,
        metric_at,
        missed_thresholds,
    )
    from components.artifacts.release import write_release
    from components.durable_files import publish_folder
    from pipeline.places import runs_folder

    config, paths = context.params.publish, context.arguments
    metrics = read_metrics(paths.evaluation, paths.model)
    # Built in the runs folder: the release appears at its place only when it is good enough.
    staged = runs_folder() / "publish" / "release"
    card = write_release(
        staged,
        artifact=paths.model,
        encoders=paths.encoders,
        metrics=metrics,
        samples=paths.evaluation / "samples.png",
        config=config,
    )
    missed = missed_thresholds(metrics, config.thresholds)
    few = few_held_out(metrics, config)
    registered = _register(context, staged, card, promoted=is_champion(metrics, config))
    measured = {name: metric_at(metrics, name) for name in config.thresholds}
    context.tracker.log_metrics({k: v for k, v in measured.items() if v is not None})
    context.pipeline.set_tags({"published": str(not missed).lower()})
    report = {
        "published": not missed,
        "missed": missed,
        "content_hash": card["release"]["content_hash"],
        "thresholds": {
            name: {"value": measured[name], **_given(threshold)}
            for name, threshold in config.thresholds.items()
        },
        "registered": registered,
    }
    if few:
        report["no_champion"] = few
    # Also of a model that misses: the summary says from it why that one is no champion.
    paths.report.parent.mkdir(parents=True, exist_ok=True)
    paths.report.write_text(json.dumps(report, indent=2) + "\n")
    if missed:
        raise DataError(
            "not published: " + "; ".join(missed),
            "publish.thresholds",
            "train longer, or lower the threshold",
        )
    publish_folder(staged, paths.out)
    context.tracker.log_artifact(paths.out / "MODEL_CARD.md")
    context.say(f"publish: {paths.out} holds the model")
    if few:
        context.say(f"publish: candidate, not champion: {few}")


def read_metrics(evaluation: Path, model: Path) -> dict[str, Any]:
    """Return what evaluation wrote about exactly this model.

    Raises:
        DataError: there is nothing, or it is about other weights.
    """
    from components.artifacts.artifact import read_card, weights_hash

    path = evaluation / "metrics.json"
    try:
        metrics: dict[str, Any] = json.loads(path.read_text())
        measured = metrics["model"]["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"no metrics: {type(error).__name__}", str(path), "run the evaluate stage"
        ) from error
    if measured != weights_hash(read_card(model)):
        raise DataError("metrics of another model", str(path), "run the evaluate stage again")
    return metrics


def _register(
    context: StageContext, release: Path, card: dict[str, Any], *, promoted: bool
) -> dict[str, Any] | None:
    """Register as candidate, move champion when promoted; return name and aliases."""
    from components.artifacts.model_card import enlarges

    config = context.params.publish
    if not config.register:
        return None
    if enlarges(card) > 1:
        context.say("publish: not registered, for a model that only enlarges is not served")
        return None
    from pipeline.tracking.registry import promote, publish_version

    found = publish_version(
        config,
        context.params.tracking,
        run_id=context.tracker.run_id(timeout_s=60),
        release=release,
        card=card,
    )
    version, aliases = found["version"], ["candidate"]
    if promoted:
        promote(config, context.params.tracking, version)
        aliases.append("champion")
    what = "registered" if found["new"] else "already registered"
    context.say(f"publish: {config.model_name} version {version} {what}: {', '.join(aliases)}")
    # The number of the version tells of this registry, not of the model: git does not hold it.
    context.facts["registered_version"] = int(version)
    return {"name": config.model_name, "aliases": aliases}


def _given(threshold: Any) -> dict[str, float]:
    return {side: value for side, value in vars(threshold).items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
