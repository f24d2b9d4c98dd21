"""`python -m components.training JOB.json`: train on a bare machine, without Ray, MLflow or DVC.

One process, or several under torchrun: `torchrun --nproc-per-node 8 -m components.training
JOB.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

from components.durable_files import publish_folder
from components.errors import say_error, stop_on_signal
from components.training.job import TrainingJob
from components.training.run import run_job


def main(argv: list[str] | None = None) -> int:
    """Run the job of a JSON file; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.training", description=__doc__)
    parser.add_argument("job", type=Path, help="JSON file of a TrainingJob")
    parser.add_argument("--device", default="", help="cpu, cuda or cuda:0; default: a GPU if any")
    parser.add_argument(
        "--no-fallback",
        action="store_true",
        help="refuse an older state than the newest",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    try:
        with stop_on_signal():
            job = TrainingJob.read(arguments.job)
            job = dataclasses.replace(job, fallback=job.fallback and not arguments.no_fallback)
            result = _run(job, arguments.device)
    except (Exception, KeyboardInterrupt) as error:
        return say_error(error, arguments.debug)
    if result:
        print(json.dumps(result))
    return 0


def _run(job: TrainingJob, device: str) -> dict[str, object]:
    """Train; return the summary on rank 0, {} on the others."""
    import torch

    from components.training.distributed import world_from_environment

    if not device:
        local_rank = os.environ.get("LOCAL_RANK", "0")
        device = f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    with world_from_environment(device) as world:
        is_first = world.rank == 0
        result = run_job(job, world, _print if is_first else lambda line: None, device)
    if is_first and job.artifact_dir:
        _copy(Path(str(result["artifact"])), Path(job.artifact_dir))
    return result if is_first else {}


def _print(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    publish_folder(temporary, target)


if __name__ == "__main__":
    sys.exit(main())
