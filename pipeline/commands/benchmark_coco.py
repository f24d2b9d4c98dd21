"""`ganline benchmark_coco`: measure a published model on zero-shot COCO.

It is no stage: nothing depends on it.

    ganline benchmark_coco presets/benchmarks/coco_zero_shot.yaml --out coco.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from components.errors import ConfigError, printable
from pipeline.exit_codes import Parser, guarded
from pipeline.places import runs_folder, set_quiet_environment

SECTION = "coco"

EXAMPLES = """\
  ganline benchmark_coco presets/benchmarks/coco_zero_shot.yaml --dry-run --out coco.json
  ganline benchmark_coco presets/benchmarks/coco_zero_shot.yaml --out coco.json
  ganline benchmark_coco coco.yaml --set coco.seed=1 --model artifacts/release --out coco.json"""


def main(argv: list[str] | None = None) -> int:
    """Run `ganline benchmark_coco`."""
    options = _parser().parse_args(argv)
    # Only a published clip_scorer without a local file is ever fetched.
    set_quiet_environment(may_download=True)
    return guarded(lambda: benchmark(options), options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ganline benchmark_coco",
        description="FID at 64 and 256 px and CLIP score on captions that no training saw.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, metavar="FILE", help="its section `coco`; a preset")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON to write")
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="a release; default: what publish made"
    )
    parser.add_argument(
        "--encoders", type=Path, metavar="DIR", help="has the scorer when the file names none"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, as coco.seed=1"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the settings; write nothing")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def benchmark(options: argparse.Namespace) -> None:
    """Check the settings, open pictures, model and nets, measure, write one JSON file.

    Raises:
        ConfigError: a setting or the name of the output is not allowed.
        DataError: the pictures or the captions cannot be used.
        StorageError: the model or a net is missing or damaged.
    """
    config = read_config(options.config, options.set)
    if options.dry_run:
        import dataclasses

        import yaml

        print(yaml.safe_dump({SECTION: json.loads(json.dumps(dataclasses.asdict(config)))}), end="")
        return
    if options.out.is_dir() or not options.out.parent.is_dir():
        todo = "name a file in a folder that is there"
        raise ConfigError(f"cannot write {options.out}", "--out", todo)
    report = measure(config, options.model, options.encoders)
    temporary = options.out.with_name(f".{options.out.name}.tmp")
    temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, options.out)
    for name, value in report.items():
        if not isinstance(value, dict):
            why = report["not_measured"].get(name, "")
            shown = f"not measured: {why}" if value is None else f"{value:.4f}"
            print(printable(f"{name:<26} {shown}"))


def read_config(path: Path, overrides: list[str]) -> Any:
    """Return the section `coco` of a file as a CocoConfig.

    Raises:
        ConfigError: listing everything that is wrong, each with its key.
    """
    from components.evaluation.config import CocoConfig
    from pipeline.params.file import ParamsError, Problem, read_params_file
    from pipeline.params.schema import check, unknown_key

    file = read_params_file(path)
    for setting in overrides:
        file.override(setting)
    unknown = [((name,), unknown_key(name, (SECTION,))) for name in file.values if name != SECTION]
    config, wrong = check(CocoConfig, file.values.get(SECTION, {}))
    findings = unknown + [((SECTION, *keys), what) for keys, what in wrong]
    problems = file.problems + [
        Problem(".".join(keys), what, file.line_of(keys)) for keys, what in findings
    ]
    if problems:
        raise ParamsError(file.name, problems)
    return config


def measure(config: Any, release: Path | None, encoders: Path | None) -> dict[str, Any]:
    """Return the report of a release: every metric, its card, the data, the model."""
    import torch

    from components.artifacts.artifact import GENERATOR
    from components.artifacts.release import load_release
    from components.evaluation.coco import open_coco
    from components.evaluation.nets import open_inception, open_scorer
    from components.evaluation.zero_shot import ZeroShot
    from pipeline.commands.default_folders import folder_of

    device = "cuda" if torch.cuda.is_available() else "cpu"
    folder = release or folder_of("publish", "--model")
    model, card = load_release(folder, device)
    if not card["shape"]["pooled_dim"]:
        raise ConfigError("the model takes no text", str(folder), "give a text-to-image model")
    inception = None
    if config.inception_file:
        inception = open_inception(Path(config.inception_file), f"{SECTION}.inception_file", device)
    scorer = open_scorer(config.clip_scorer, encoders, f"{SECTION}.clip_scorer", device)
    if inception is None and scorer is None:
        todo = f"set {SECTION}.inception_file or {SECTION}.clip_scorer, or give --encoders"
        raise ConfigError("no net to measure with", SECTION, todo)
    cache = runs_folder() / "evaluation" / "real_features"
    pictures = open_coco(
        Path(config.annotations), Path(config.images), seed=config.seed, cache=cache
    )
    say = lambda text: print(printable(text), file=sys.stderr, flush=True)  # noqa: E731
    say(f"benchmark_coco: {pictures.num_rows:,} of {pictures.listed:,} pictures")
    for reason, count in pictures.left_out.items():
        say(f"benchmark_coco: left out {count:,}: {reason}")
    bench = ZeroShot(
        pictures=pictures,
        config=config,
        inception=inception,
        scorer=scorer,
        guides=scorer is not None and scorer.sha256 == card.get("encoders", {}).get("clip"),
        cache=cache,
    )
    report = bench.scores(model, say)
    report["model"] = {
        "generator_sha256": card["files"][GENERATOR],
        "family": card["recipe"]["name"],
        "resolution_px": card["resolution_px"],
    }
    return report


if __name__ == "__main__":
    sys.exit(main())
