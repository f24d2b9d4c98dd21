"""Stage encoders: make all frozen nets of the later stages once; no rank downloads any."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from components.data.far_files import Folder
from components.errors import ConfigError
from components.pretraining.config import ROLES
from pipeline.places import bundled_folder
from pipeline.stages.frame import StageContext, run_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("encoders", arguments=_arguments, work=_work, argv=argv, may_download=True)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--raw", type=Path, required=True, help="folder with the clean splits")
    parser.add_argument("--source", help="your data, if raw has no splits; default source.path")
    parser.add_argument("--out", type=Path, required=True, help="folder that is replaced")


def _work(context: StageContext) -> None:
    arguments, params = context.arguments, context.params
    bundled = [r for r in ROLES if getattr(params.encoders, r).source == "bundled"]
    own = [one for one in arguments.source if not _is_inside(one.folder, arguments.raw)]
    if bundled and own:
        where = f"encoders.{bundled[0]}.source: bundled"
        todo = "set source to train or pretrained"
        raise ConfigError(f"{own[0]} is no split of the embedded drawings", where, todo)

    from components.pretraining.roles import make_encoders
    from components.pretraining.training_data import TrainingData
    from pipeline.cluster.on_actors import rows_on_ray

    data = TrainingData(
        raw=arguments.raw,
        source=params.source,
        source_folder=arguments.source[0].folder,
        config=params.encoders,
        seed=params.seed,
        bundled=bundled_folder() / "encoders",
        several=arguments.source,
    )
    on_ray = None
    if params.encoders.backend == "ray":
        on_ray = rows_on_ray(params.cluster, context.say, folders=("net",), ordered=True)
    cards = make_encoders(data, arguments.out, context.say, on_ray)
    for role, card in cards.items():
        values = {f"{role}.{name}": value for name, value in card.metrics.items()}
        context.tracker.log_metrics(values | {f"{role}.seconds": card.seconds})


def _is_inside(folder: Folder, above: Path) -> bool:
    return isinstance(folder, Path) and folder.resolve().is_relative_to(above.resolve())


if __name__ == "__main__":
    sys.exit(main())
