"""Adapt a model as entries of `adapt` say, and count what changed and what stayed.

python -m benchmarks.adaptation presets/nada_shapes.yaml --start artifacts/base --out runs/adapted
    [--case blue_ground] [--case all layers,blue_ground,selected_layers=0] [--json FILE]

A case is an entry of `adapt`, or a name, an entry, and the fields that differ from it (with a
leading `train.`: its sizes). The same codes are drawn by the frozen and the adapted model; the
judge, which nothing here trains against, names what both show. What was to change is read off the
recipe: the value that its sentences or its pictures share. A sheet
of each case, frozen beside adapted, is left in --out, and `all.png`: the frozen model's first
images, then a row for each case. Needs the embedded drawings: the judge and
the texts know no others. The same command gives the same numbers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.images_to_distance import read_case
from benchmarks.judged import ATTRIBUTES, HEAD, Eyes, compare, row
from pipeline.exit_codes import guarded

SHOWN, COLUMNS = 16, 8  # codes on a sheet


def main(argv: list[str] | None = None) -> int:
    """Adapt and measure every case, print the table, write JSON and sheets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation")
    parser.add_argument("params", type=Path, help="params file: its section adapt and its seed")
    parser.add_argument("--start", type=Path, required=True, metavar="ARTIFACT")
    parser.add_argument("--encoders", type=Path, default=None, help="default: the bundled ones")
    parser.add_argument("--case", action="append", metavar="[NAME,]ENTRY[,FIELD=VALUE...]")
    parser.add_argument("--num", type=int, default=1000, help="codes that are compared")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args(argv)
    import torch

    from pipeline.params.sections import load_params
    from pipeline.places import bundled_folder

    torch.set_num_threads(options.threads)
    options.encoders = options.encoders or bundled_folder() / "encoders"
    params = load_params(options.params)
    cases = [case_of(text, params.adapt) for text in options.case or list(params.adapt)]
    eyes, found, rows = Eyes(options.encoders), {}, []
    print(HEAD)
    for name, config in cases:
        found[name], shown = run_case(name, config, params.seed, options, eyes)
        rows += shown if not rows else shown[1:]
        print(row(name, found[name], found[name]["seconds"]), flush=True)
    _sheet(options.out / "all.png", rows)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def case_of(text: str, entries: dict[str, Any]) -> tuple[str, Any]:
    """Return a case's name and its section, changed as it says.

    Raises:
        SystemExit: it names no entry.
    """
    words = text.split(",")
    plain = [word for word in words if "=" not in word]
    name, entry = plain[0], plain[-1]
    if entry not in entries:
        raise SystemExit(f"--case {text}: the entries of adapt are {', '.join(entries)}")
    changes = read_case(",".join([name, *(word for word in words if "=" in word)]))[1]
    sizes = {k.removeprefix("train."): v for k, v in changes.items() if k.startswith("train.")}
    fields = {k: v for k, v in changes.items() if not k.startswith("train.")}
    config = entries[entry]
    return name, dataclasses.replace(config, recipe={**config.recipe, **fields}, **sizes)


def run_case(
    name: str, config: Any, seed: int, options: argparse.Namespace, eyes: Eyes
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Adapt, draw both models, compare; return the numbers, with `seconds` and `cpu_s`, and the
    first images of both.
    """
    from components.artifacts.artifact import load_generator
    from components.sampling import generate_from
    from components.training.distributed import World
    from components.training.run import build_networks, run_job
    from components.training.site import build_site

    job = job_of(name, config, seed, options)
    shutil.rmtree(job.run_dir, ignore_errors=True)
    started = time.perf_counter(), time.process_time()
    result = run_job(job, World(), lambda line: None, "cpu")
    took = time.perf_counter() - started[0], time.process_time() - started[1]
    recipe, site, batches = build_site(job, job.config())
    original = build_networks(job, recipe, site).frozen["original"].eval()
    adapted, _ = load_generator(Path(result["artifact"]))
    condition, seeds = batches.atom(0, options.num).condition, list(range(options.num))
    before, after = (generate_from(net, condition, seeds) for net in (original, adapted))
    pairs = [x[i : i + COLUMNS] for i in range(0, SHOWN, COLUMNS) for x in (before, after)]
    _sheet(options.out / f"{name}.png", pairs)
    folder = recipe.target_pictures
    pictures = [_pixels(x) for x in site.pictures(folder)] if folder else []
    wanted = wanted_of(recipe, eyes, pictures)
    watched = {k: v for k, v in result["metrics"].items() if k.startswith(("watch/", "loss/"))}
    numbers = {
        **compare(eyes.look(before), eyes.look(after), *wanted),
        "seconds": took[0],
        "cpu_s": took[1],
        "nimg": result["nimg"],
        "watched": watched,
    }
    return numbers, pairs[:2]


def job_of(name: str, config: Any, seed: int, options: argparse.Namespace) -> Any:
    """Return the training that a case stands for."""
    from components.artifacts.artifact import read_card
    from components.training.job import TrainingJob
    from pipeline.stages.train import resolve_recipe

    card = read_card(options.start)
    recipe = resolve_recipe(config, None, card)
    if card["shape"]["pooled_dim"] and not recipe["prompts"]:
        recipe["prompts"] = captions(256)
    return TrainingJob(
        stage=f"adapt_{name}",
        seed=seed,
        recipe=json.loads(json.dumps(recipe)),
        # Of the start: the entries of a preset state that of the base they are written for.
        train=dataclasses.asdict(config.train) | {"resolution_px": card["resolution_px"]},
        run_dir=str((options.out / name).absolute()),
        encoders_dir=str(options.encoders.absolute()),
        start_dir=str(options.start.absolute()),
        pictures_dir=str(Path.cwd()),
    )


def captions(count: int) -> list[str]:
    """Return plain captions of the embedded drawings, for a model that is asked for something."""
    from components.data.synthetic import prompt, sample_pairs

    pairs = sample_pairs(0, "asked", range(count))
    return [prompt(**pairs.values(index)) for index in range(count)]


def wanted_of(recipe: Any, eyes: Eyes, pictures: Sequence[np.ndarray]) -> tuple[str, str]:
    """Return the attribute that is to change, and to what.

    Raises:
        SystemExit: the sentences share the target in no attribute, or the pictures no value.
    """
    from components.data.captions import attributes_of
    from models.editing.templates import alternatives

    if pictures:
        seen = eyes.look(np.concatenate(pictures)).values
        told = [{name: seen[name][i] for name in ATTRIBUTES} for i in range(len(pictures))]
        words = {name: told[0][name] for name in ATTRIBUTES}
    else:
        templates = alternatives(recipe.templates)
        sentences = [template.replace("{}", recipe.target) for template in templates]
        told = [attributes_of(sentence) or {} for sentence in sentences]
        words = dict.fromkeys(ATTRIBUTES, recipe.target)
    for name, word in words.items():
        if all(values.get(name) == word for values in told):
            return name, word
    raise SystemExit("the goal is no one value of the embedded drawings")


def _pixels(picture_1CHW: Any) -> np.ndarray:
    from components.sampling import to_uint8

    return np.asarray(to_uint8(picture_1CHW))


def _sheet(path: Path, rows: Sequence[np.ndarray]) -> None:
    """Write rows of images; shorter ones end in white, empty ones are left out."""
    from components.pictures.sheets import image_grid

    rows = [row for row in rows if len(row)]
    count = max(map(len, rows))
    white = [np.full((count - len(x), *x.shape[1:]), 255, x.dtype) for x in rows]
    images = [np.concatenate(pair) for pair in zip(rows, white, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    image_grid(np.concatenate(images), count).save(path)


if __name__ == "__main__":
    raise SystemExit(guarded(main))
