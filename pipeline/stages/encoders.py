"""Stage encoders: make all frozen nets of the later stages once; no rank downloads any."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.stages.frame import StageContext, run_stage


def main(argv: list[str] | None = None) -> int:
    """Run the stage and return its exit code."""
    return run_stage("encoders", arguments=_arguments, work=_work, argv=argv, may_download=True)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--raw", type=Path, required=True, help="folder with the clean splits")
    parser.add_argument(
        "--source", type=Path, required=True, help="your data, if raw has no splits"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder that is replaced")


def _work(context: StageContext) -> None:
    from components.pretraining.roles import TrainingData, make_encoders

    arguments, params = context.arguments, context.params
    data = TrainingData(
        arguments.raw, params.source, arguments.source, params.encoders, params.seed
    )
    cards = make_encoders(data, arguments.out, context.say)
    for role, card in cards.items():
        values = {f"{role}.{name}": value for name, value in card.metrics.items()}
        context.tracker.log_metrics(values | {f"{role}.seconds": card.seconds})


if __name__ == "__main__":
    sys.exit(main())
