"""What one training process does, whoever started it: meet the others, train, report, stop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import GanlineError
from pipeline.cluster.failures import failure_to_dict
from pipeline.cluster.guardian import Guardian, end_with
from pipeline.cluster.soft_stop import stop_requested

if TYPE_CHECKING:
    import torch

# As long as Ray's own trainer for torch waits in one collective operation.
PATIENCE = timedelta(seconds=1800)


def meet(rank: int, size: int, host: str, share: Callable[[Any], Any]) -> None:
    """Start torch's process group of CPU ranks (gloo).

    Ray's own trainer for torch does the same, but imports torch also where nothing is computed, in
    the command and in the controller: 4 s of CPU per training.

    Args:
        rank: of this process.
        size: number of ranks; alone, nobody has to be met.
        host: address of this machine; only rank 0's counts.
        share: returns rank 0's argument on all ranks.
    """
    if size == 1:
        return
    import torch.distributed as dist

    store = dist.TCPStore(host, 0, size, True, wait_for_workers=False) if rank == 0 else None
    host, port = share((host, store.port) if store else None)
    store = store or dist.TCPStore(host, port, size, False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE)


def run_rank(
    settings: dict[str, Any],
    rank: int,
    size: int,
    device: torch.device | str,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run one rank. A user's error is returned, not raised: to try again would not help.

    Args:
        settings: {"job": fields of TrainingJob, "threads": of torch's CPU kernels, "stage": the
            process to end with, "" = none}.
        rank: of this process.
        size: number of ranks.
        device: where it computes.
        report: called at each saved state on all ranks alike, {"nimg": images seen}.
    """
    import torch

    from components.training.distributed import World
    from components.training.job import TrainingJob
    from components.training.pulse import FOLDER, Pulse
    from components.training.run import run_job

    if settings["stage"]:
        end_with(Guardian.parse(settings["stage"]))
    torch.set_num_threads(settings["threads"])
    job = TrainingJob(**settings["job"]).here()
    pulse = Pulse(Path(job.run_dir) / FOLDER, rank, size)
    world = World(rank, size, device, pulse.at)

    def tell(line: dict[str, Any]) -> None:
        # A meeting of all ranks at Ray's controller: not for each tick.
        if line["kind"] == "saved":
            report({"nimg": line["nimg"]})

    def stop() -> bool:
        return world.rank == 0 and stop_requested(Path(job.run_dir))

    try:
        with pulse.beating():
            return {"result": run_job(job, world, tell, device, stop)}
    except GanlineError as error:
        return {"failure": failure_to_dict(error)}
