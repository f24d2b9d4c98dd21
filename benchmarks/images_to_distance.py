"""How many images a training sees before it comes how near: recipes that differ in some fields, on
the same images in the same order.

python -m benchmarks.images_to_distance presets/projected_gan_shapes.yaml --kimg 20
    --case projected --case pixels,discriminator_network=pixels
    [--case slow,discriminator_network=pixels,discriminator_learning_rate=2.0e-4]
    [--reference pixels --reference slow] [--csv FILE] [--json FILE]

A case is a name and the fields that differ from `train_base.recipe` of the params file (and, with a
leading `train.`, from its sizes). The averaged generator is measured on held-out images as the
evaluate stage does; where the data has classes that the judge knows, its shares are told as well.
The references (the last case unless named) are what the others are compared with: of several, the
one that ends nearest. Nothing passes or fails. SIGTERM ends it early: what was reached is printed
and written.

Cases of one generator start from the same weights, and image n of every case is the same file. What
a discriminator draws at random (augmentations) comes from the same seeds too.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import re
import time
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from components.errors import Interrupted

JUDGE = "judge."
_EXPONENT = re.compile(r"[-+]?[0-9]+e[-+]?[0-9]+", re.IGNORECASE)
Points = list[dict[str, float]]  # images, distance, cpu_s, and judge.<attribute> where it knows


def main(argv: list[str] | None = None) -> int:
    """Train and measure every case, print the table, write CSV and JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images_to_distance")
    parser.add_argument("params", type=Path, help="params file: its train_base and its seed")
    parser.add_argument("--case", action="append", required=True, metavar="NAME[,FIELD=VALUE...]")
    parser.add_argument("--reference", action="append", metavar="NAME", help="of a case")
    parser.add_argument("--data", type=Path, default=Path("data/train"), metavar="FOLDER")
    parser.add_argument("--encoders", type=Path, default=Path("artifacts/encoders"))
    parser.add_argument("--net", default="judge", help="role of the net that measures")
    parser.add_argument("--kimg", type=float, required=True, help="of every case")
    parser.add_argument("--every", type=float, default=1.0, help="kimg between measurements")
    parser.add_argument("--num", type=int, default=1000, help="generated images per measurement")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="write the curves here: images, series, value")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--pictures", type=Path, help="folder for the newest grid of every case")
    options = parser.parse_args(argv)
    import torch

    names = [read_case(text)[0] for text in options.case]
    references = options.reference or names[-1:]
    if unknown := sorted(set(references) - set(names)):
        parser.error(f"--reference {', '.join(unknown)}: the cases are {', '.join(names)}")
    torch.set_num_threads(options.threads)
    curves: dict[str, Points] = {}
    exit_code = 0
    for text in options.case:
        name, changes = read_case(text)
        curves[name] = []
        try:
            run_case(name, changes, options, curves[name])
        except Interrupted as stopped:
            print(f"{name} ends early: {stopped.what}", flush=True)
            exit_code = stopped.exit_code
            break
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return exit_code
    result = {"machine": describe("cpu"), "net": options.net, "num_fake": options.num}
    result |= {"curves": curves, "compared": compare(curves, references)}
    _print(result)
    if options.csv:
        _write_csv(options.csv, curves)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return exit_code


def read_case(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a case and its changes, values read as YAML."""
    name, *settings = text.split(",")
    pairs = (setting.partition("=") for setting in settings)
    return name, {key: value_of(value) for key, _, value in pairs}


def value_of(text: str) -> Any:
    """Return a value as YAML has it, but 3e-3 as a number: YAML 1.1 wants a point in it."""
    import yaml

    value = yaml.safe_load(text)
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def run_case(
    name: str, changes: dict[str, Any], options: argparse.Namespace, points: Points
) -> None:
    """Train one case; add its points to `points`, the untrained generator's first.

    Raises:
        Interrupted: SIGTERM or SIGINT.
    """
    from components.training.distributed import World
    from components.training.job import TrainingJob
    from components.training.loop import train
    from components.training.run import build_networks
    from components.training.site import build_site
    from pipeline.params.sections import load_params

    params = load_params(options.params)
    stage = params.train_base
    sizes = {k.removeprefix("train."): v for k, v in changes.items() if k.startswith("train.")}
    fields = {k: v for k, v in changes.items() if not k.startswith("train.")}
    sizes |= {"total_kimg": options.kimg, "sample_every_kimg": options.every}
    config = dataclasses.replace(stage.train, **sizes)
    places = {"data_dir": str(options.data), "encoders_dir": str(options.encoders), "run_dir": ""}
    recipe_fields = stage.recipe | fields
    job = TrainingJob(stage=name, seed=params.seed, recipe=recipe_fields, train={}, **places)
    recipe, site, batches = build_site(job, config)
    networks = build_networks(job, recipe, site)
    measured = _measurer(options, config.resolution_px, site.shape)
    measuring = 0.0
    started = time.process_time()

    def measure(model: Any, nimg: int) -> None:
        nonlocal measuring
        before = time.process_time()
        point = {"images": nimg, "cpu_s": before - started - measuring, **measured(model)}
        if options.pictures:
            _draw(options.pictures / f"{name}.png", model, batches)
        measuring += time.process_time() - before
        points.append({key: round(value, 3) for key, value in point.items()})
        print(f"{name}: {point['images']} images, distance {point['distance']:.1f}", flush=True)

    def sample(model: Any, nimg: int) -> None:
        if nimg > config.batch:  # the loop also shows its first step
            measure(model, nimg)

    measure(networks.trained[networks.model], 0)
    train(
        recipe=recipe,
        networks=networks,
        config=config,
        seed=job.seed,
        batches=batches,
        state_store=None,
        world=World(),
        report=lambda record: None,
        device="cpu",
        sample=sample,
    )


def _measurer(
    options: argparse.Namespace, resolution: int, shape: Any
) -> Callable[[Any], dict[str, float]]:
    """Return a function: generator -> Frechet distance from the held-out images, and with classes
    the judge's shares.
    """
    from components.data.batches import BatchSource
    from components.evaluation.bench import Bench
    from components.evaluation.config import EvaluateConfig

    config = EvaluateConfig(feature_role=options.net, num_fake=options.num)
    heldout = BatchSource(options.data, "heldout", resolution, config.seed)
    kinds = {"takes_text": bool(shape.pooled_dim), "takes_label": bool(shape.num_labels)}
    bench = Bench.open(heldout, options.encoders, config, cache=None, **kinds)

    def measured(model: Any) -> dict[str, float]:
        training = model.training
        sampled = bench.sample(model.eval(), options.num, aligned=kinds["takes_label"])
        model.train(training)
        shares = bench.judged(sampled) or {}
        judged = {f"{JUDGE}{k}": share for k, share in shares.items() if k not in ("all", "num")}
        return {"distance": bench.frechet(sampled), **judged}

    return measured


def _draw(path: Path, model: Any, batches: Any) -> None:
    from components.pictures.sheets import image_grid
    from components.sampling import generate_from

    path.parent.mkdir(parents=True, exist_ok=True)
    images = generate_from(model, batches.first(32).condition, range(32))
    image_grid(images, 8).save(path)


def compare(curves: dict[str, Points], references: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Compare every case with the reference that ends nearest; nothing where none was trained.

    Returns:
        Case -> {"reference", "images" after which it was first as near as the reference is at its
        end, "times_fewer" images than the reference's}, None where it never was (or was at once).
    """
    trained = [name for name in references if curves.get(name)]
    if not trained:
        return {}
    reference = min(trained, key=lambda name: curves[name][-1]["distance"])
    goal = curves[reference][-1]
    found: dict[str, dict[str, Any]] = {}
    for name in curves:
        if name in references:
            continue
        near = (p["images"] for p in curves[name] if p["distance"] <= goal["distance"])
        images = next(near, None)
        fewer = goal["images"] / images if images else None
        found[name] = {"reference": reference, "images": images, "times_fewer": fewer}
    return found


def _print(result: dict[str, Any]) -> None:
    curves: dict[str, Points] = result["curves"]
    print("images  " + "  ".join(f"{name:>12}" for name in curves))
    for row in zip_longest(*curves.values()):
        images = next(p["images"] for p in row if p)
        cells = (f"{p['distance']:12.1f}" if p else " " * 12 for p in row)
        print(f"{images:6.0f}  " + "  ".join(cells))
    print("cpu s   " + "  ".join(f"{points[-1]['cpu_s']:12.0f}" for points in curves.values()))
    last = [points[-1] for points in curves.values()]
    for key in (key for key in last[0] if key.startswith(JUDGE)):
        print(f"{key.removeprefix(JUDGE):<8}" + "  ".join(f"{point[key]:12.3f}" for point in last))
    for name, found in result["compared"].items():
        reference = found["reference"]
        if found["images"] is None:
            print(f"{name} was never as near as {reference} at its end")
        else:
            fewer = found["times_fewer"]  # none where it was as near before the first image
            says = f"{found['images']:.0f} images" + (f", {fewer:.1f} times fewer" if fewer else "")
            print(f"{name} is as near as {reference} at its end after {says}")


def _write_csv(path: Path, curves: dict[str, Points]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("images", "series", "value"))
        for name, points in curves.items():
            writer.writerows((int(p["images"]), name, p["distance"]) for p in points)


if __name__ == "__main__":
    raise SystemExit(main())
