"""Stage evaluate: distances, CLIP score, judge, outlines, variety, memorisation, the sheets.

Example:

    python -m pipeline.stages.evaluate --data data/train --encoders artifacts/encoders
        --truth data/truth --decisions data/decisions.parquet --model artifacts/px64
        --out artifacts/evaluation --report reports/evaluation.json --curve reports/truncation.csv
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.stages.frame import StageContext, run_stage

PROMPT_SHOWN = 120  # characters of a caption that a command line is shown with
# What metrics.json says about the metrics, and no table of metrics should show.
BESIDE = ("cards", "judge_counts", "model", "not_measured", "silhouette_cells", "warnings")


def main(argv: list[str] | None = None) -> int:
    """Run the stage."""
    # Only a published evaluate.clip_scorer without a local file is ever fetched.
    return run_stage(
        "evaluate", arguments=_arguments, work=_work, plan=_plan, argv=argv, may_download=True
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("data", "encoders", "truth", "model", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    for name in ("decisions", "report", "curve"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--metrics", type=Path, default=None, metavar="FILE", help="JSON of the headline numbers"
    )


def _plan(context: StageContext) -> dict[str, Any]:
    config = context.params.evaluate
    trained = max(config.num_fake, config.num_prompts)
    curve = config.num_curve * sum(psi != 1.0 for psi in config.truncations)
    seeds = config.variety_prompts * config.variety_seeds
    return {"images_to_generate": trained + config.num_fake + curve + seeds}


def _work(context: StageContext) -> None:
    from components.artifacts.artifact import weights_hash
    from components.evaluation.observer import Opened
    from components.evaluation.scores import score_generator
    from components.evaluation.truth import filter_truth
    from pipeline.places import runs_folder

    config, paths = context.params.evaluate, context.arguments
    cache = runs_folder() / "evaluation" / "real_features"
    places = {"model": paths.model, "data": paths.data, "encoders": paths.encoders}
    opened = Opened.of(config=config, cache=cache, **places)
    bench, generator, card = opened.bench, opened.after, opened.card
    if config.backend == "ray":
        _look_elsewhere(context, opened)
    scores = score_generator(
        bench,
        generator,
        opened.before,
        clip_sha256_in_training=card.get("encoders", {}).get("clip", ""),
        say=context.say,
    )
    curve, pairs = scores.pop("curve"), scores.pop("pairs")
    for metric, why in scores["not_measured"].items():
        context.say(f"evaluate: {metric} not measured: {why}")
    seconds = seconds_per_image(bench, generator)
    context.facts["seconds_per_image"] = seconds
    context.tracker.log_metrics({"seconds_per_image": seconds})
    context.say(f"evaluate: one image alone takes {seconds:.3f} s")
    scores["filter_truth"] = filter_truth(paths.truth / "truth.parquet", paths.decisions)
    scores["model"] = {
        "weights_sha256": weights_hash(card),
        "family": card["recipe"]["name"],
        "resolution_px": card["resolution_px"],
        "nimg": card["nimg"],
    }
    paths.out.mkdir(parents=True, exist_ok=True)
    shown = _draw_sheets(context, opened, paths.out)
    if bench.judge is None and bench.text_encoder is not None and shown:
        scores["model"]["prompt"] = shown[0][:PROMPT_SHOWN]  # what a user may type first
    if pairs:
        _draw_pairs(context, bench, generator, pairs)
    _write(context, scores, curve)
    if context.pipeline.identity["key"]:
        _tell_pipeline(context, card, scores)


def _look_elsewhere(context: StageContext, opened: Any) -> None:
    """Let Ray's actors draw the samples and take the features, of samples and of real images."""
    import torch

    from components.evaluation.observer import look_ahead
    from pipeline.cluster.on_actors import rows_on_ray

    paths = context.arguments
    places = {"model": paths.model, "data": paths.data, "encoders": paths.encoders}
    build: dict[str, Any] = {name: str(path) for name, path in places.items()}
    build |= {"config": opened.bench.config, "threads": torch.get_num_threads()}
    on_ray = rows_on_ray(context.params.cluster, context.say, folders=tuple(places))
    pieces = look_ahead(opened, build, on_ray)
    context.say(f"evaluate: {pieces:,} batches of images were looked at on Ray")


def _write(context: StageContext, scores: dict[str, Any], curve: list[dict[str, Any]]) -> None:
    """Write the report and the curve, to their places and into the output folder; track both.

    The cards (how each metric was measured, or why not) and the judge's counts stand in the folder
    alone. `--metrics` gets a dozen numbers: DVC's tables have a column for every value. No file
    holds a time: they are outputs, and the same model gives the same bytes.
    """
    from components.evaluation.charts import draw_curve, write_curve
    from pipeline.stages.whole_run import headline

    paths = context.arguments
    draw_curve(paths.out / "truncation.png", curve)
    for table in (paths.curve, paths.out / "truncation.csv"):
        write_curve(table, curve)
    short = {name: value for name, value in scores.items() if name not in BESIDE}
    files = [(paths.report, short), (paths.out / "metrics.json", scores)]
    if paths.metrics:
        files.append((paths.metrics, headline(scores)))
    for file, content in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    context.tracker.log_metrics(flat_numbers(scores), step=scores["model"]["nimg"])
    # The curve over psi is a table and a picture: MLflow's x axis is for steps of training.
    for name in ("metrics.json", "truncation.csv", *(["truncation.png"] if curve else [])):
        context.tracker.log_artifact(paths.out / name)


def _tell_pipeline(context: StageContext, card: dict[str, Any], scores: dict[str, Any]) -> None:
    """Write what was asked for and what it gave into the row of the whole run."""
    from PIL import Image

    from pipeline.stages.whole_run import asked_for, final_numbers

    context.pipeline.log_params(asked_for(context.params, card))
    context.pipeline.log_metrics(final_numbers(scores), step=scores["model"]["nimg"])
    with Image.open(context.arguments.out / "samples.png") as sheet:
        context.pipeline.log_image("samples", sheet.copy(), step=0)


def seconds_per_image(bench: Any, generator: Any, repeats: int = 5) -> float:
    """Return the median time of one image alone, its prompt's encoding included."""
    from components.evaluation.features import held_out
    from components.requests.images import PROMPT_CHARS_LIMIT
    from components.sampling import generate, generate_from
    from models.text_to_image import TextToImage

    (rows,) = held_out(bench.source, 1, 1)
    draws = bench.text_encoder and rows.condition.picture_NCHW is None
    model = TextToImage.of(generator, bench.text_encoder) if draws else None
    # A filter may let captions through that are longer than a prompt may be.
    prompts = [caption[:PROMPT_CHARS_LIMIT] for caption in rows.captions]
    times = []
    for seed in range(repeats + 1):
        started = time.perf_counter()
        if model is not None:
            generate(model, prompts, [seed])
        else:
            generate_from(generator, rows.condition, [seed])
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])  # the first call also warms up


def _draw_sheets(context: StageContext, opened: Any, out: Path) -> list[str]:
    """Save samples.png and reals.png (held-out images); return the captions of the latter.

    The samples are a row per prompt or class, each once, and a column per seed; an image each of
    its own seed where the model is not asked for anything; as in training where it only enlarges.
    """
    import torch

    from components.evaluation.features import held_out
    from components.evaluation.sheet_rows import SheetRows, distinct_rows
    from components.pictures.sheets import image_grid
    from components.requests.subjects import kind_of
    from components.sampling import beside_bicubic, generate_from, to_uint8

    bench, generator, card = opened.bench, opened.after, opened.card
    config = bench.config
    count = min(config.sheet_prompts, bench.source.num_rows)
    (rows,) = held_out(bench.source, count, count)
    enlarges = rows.condition.picture_NCHW is not None
    width = 1 if enlarges else config.sheet_seeds
    kind, shown = kind_of(card), SheetRows(condition=rows.condition, captions=rows.captions)
    if kind != "none" and not enlarges:
        num_labels = card["shape"]["num_labels"] if kind == "label" else 0
        shown = distinct_rows(bench.source, count, num_labels=num_labels)
    each = torch.arange(len(shown.captions)).repeat_interleave(width)
    columns = range(config.seed, config.seed + width)
    seeds = [*columns] * len(shown.captions)
    if kind == "none":
        seeds = [*range(config.seed, config.seed + len(each))]
    images = generate_from(generator, shown.condition[each], seeds, batch=config.batch)
    if enlarges:
        images, width = beside_bicubic(rows, images), 4
    told = shown.captions if kind != "none" and any(shown.captions) else None
    sheet = image_grid(images, width, told)
    sheet.save(out / "samples.png")
    context.tracker.log_image("samples", sheet, step=0)
    assert rows.image_NCHW is not None, "a held-out row has an image"
    captions = list(rows.captions) if any(rows.captions) else []
    image_grid(to_uint8(rows.image_NCHW), 4, captions or None).save(out / "reals.png")
    return captions


def _draw_pairs(context: StageContext, bench: Any, generator: Any, pairs: list[Any]) -> None:
    """Save memorised.png: samples, and below each its nearest training images in both spaces."""
    import numpy as np

    from components.evaluation.memorisation import NEAR, SPACES
    from components.pictures.sheets import image_grid
    from components.sampling import generate_from, to_uint8

    rows = [bench.source.atom(pair.sample, 1) for pair in pairs]
    images = [
        generate_from(generator, row.condition, [bench.config.seed + pair.sample])
        for row, pair in zip(rows, pairs, strict=True)
    ]
    captions = [f"sample {pair.sample}" for pair in pairs]
    for space, by in SPACES.items():
        for pair in pairs:
            found = bench.training.atom(pair.training[space], 1)
            assert found.image_NCHW is not None, "a training row has an image"
            images.append(to_uint8(found.image_NCHW))
            captions.append(f"{by} {pair.ratio[space]:.2f}")
    title = f"Nearest training images; 1 = as near as {100 * NEAR:.0f} % of held-out images are"
    sheet = image_grid(np.concatenate(images), len(pairs), captions, title)
    sheet.save(context.arguments.out / "memorised.png")
    context.tracker.log_image("memorised", sheet, step=0)


def flat_numbers(values: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of nested scores under names joined by slashes, the cards left out."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name not in BESIDE:
            flat |= flat_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat[f"{prefix}{name}"] = float(value)
    return flat


if __name__ == "__main__":
    sys.exit(main())
