"""The door to Ray: connect, train, map rows, search, submit.

Training state is ours (run folder; atomic, verified), so Ray's checkpoints are not used: Ray starts
the workers, sets up torch.distributed, and starts them again when one dies. Ray is imported inside
functions, after the switches of config.py are set.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.tuning import Search
from pipeline.cluster import failures, row_batches
from pipeline.cluster.answering import leaving_with_the_head
from pipeline.cluster.config import EXCLUDES, ClusterConfig, own_options
from pipeline.cluster.guardian import Guardian, end_with
from pipeline.cluster.rank import meet, run_rank
from pipeline.cluster.shared_ray import place
from pipeline.cluster.soft_stop import keeping_handlers


@contextmanager
def connect(address: str, config: ClusterConfig, cpus: float, needs: str) -> Iterator[None]:
    """Join the Ray that `place` finds or starts, and leave it at the end.

    Args:
        address, config, cpus: as for `place`. ResourceError when no Ray answers (any more).
        needs: the part of Ray that the caller imports next; imported while a Ray starts.
    """
    ready = place(address, config, cpus, lambda: importlib.import_module(needs))
    with ready as options, _joined(options) as head, leaving_with_the_head(address and head):
        yield


@contextmanager
def private_ray(cpus: int) -> Iterator[str]:
    """Start a Ray of `cpus` cores that others of this user may join; give its address."""
    with _joined(own_options(cpus)) as head:
        yield head


@contextmanager
def _joined(options: dict[str, Any]) -> Iterator[str]:
    import ray

    try:
        with keeping_handlers():
            ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:  # Ray raises bare ones, as for a node that is late.
        raise failures.not_joined(options["address"], error) from error
    try:
        yield str(ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()


def _train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    import ray.train

    context, device = ray.train.get_context(), "cpu"
    rank, size = context.get_world_rank(), context.get_world_size()
    if settings["use_gpu"]:  # Ray has started the process group.
        from ray.train.torch import get_device

        device = get_device()
    else:
        from ray.train.collective import broadcast_from_rank_zero

        meet(rank, size, ray.util.get_node_ip_address(), broadcast_from_rank_zero)
    return run_rank(settings, rank, size, device, ray.train.report)


def _trainer_class(use_gpu: bool, is_private: bool) -> Any:
    """Return Ray's trainer for torch on GPUs; on CPUs the one below it, which needs no torch."""
    if use_gpu:
        from ray.train.torch import TorchTrainer

        return TorchTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    class CpuTrainer(DataParallelTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            # A process each: for shards of Ray Data, and to tidy up on a Ray that goes on alone.
            unused = ("DatasetsCallback", "PlacementGroupCleanerCallback" * is_private)
            found = super()._create_default_callbacks()
            return [one for one in found if type(one).__name__ not in unused]

    return CpuTrainer


def train(job: Any, config: ClusterConfig, address: str = "") -> dict[str, Any]:
    """Train `job`, a TrainingJob, on Ray Train workers; return what `run_job` did on rank 0.

    Raises:
        GanlineError: what a worker raised.
        ResourceError: workers died more often than `config.max_failures`.
    """
    with connect(address, config, config.num_workers * config.cpus_per_worker, "ray.train"):
        import ray.train

        run_dir = Path(job.here().run_dir)
        trainer = _trainer_class(config.use_gpu, not address)(
            _train_worker,
            train_loop_config={
                "job": dataclasses.asdict(job),
                "threads": config.threads_per_worker,
                "use_gpu": config.use_gpu,
                "stage": "" if address else str(Guardian.of_this_process()),
            },
            scaling_config=ray.train.ScalingConfig(
                num_workers=config.num_workers,
                use_gpu=config.use_gpu,
                resources_per_worker=config.resources_per_worker,
                placement_strategy=config.placement,
            ),
            run_config=ray.train.RunConfig(
                name=run_dir.name,
                storage_path=str(run_dir.parent / "ray"),
                failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            ),
        )
        try:
            # Beside the main thread, or fit would take Ctrl-C for itself and throw the step away.
            with ThreadPoolExecutor(1) as thread:
                outcome = thread.submit(trainer.fit).result().return_value
        except ray.train.TrainingFailedError as error:
            raise failures.workers_failed(job.stage, config.max_failures, error) from error
        except ray.exceptions.RayError as error:  # What led the workers is gone, with its node.
            raise failures.lost(address, str(error).strip().splitlines()[0][:160]) from error
    if "failure" in outcome:
        raise failures.failure_from_dict(outcome["failure"])
    return outcome["result"]


def map_batches(
    items: Iterable[dict[str, Any]],
    worker_class: type,
    constructor_kwargs: dict[str, Any],
    batch_size: int,
    config: ClusterConfig,
    address: str = "",
    ordered: bool = False,
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Apply `worker_class(**constructor_kwargs)` to batches of items on Ray Data actors.

    Yields (number of the batch, its rows) as they are ready, in any order unless `ordered`; the
    batches are those of a local loop. Ray holds back while the caller writes, and of the items no
    more than a window lies in memory. ResourceError when a batch ends its actors every time.

    Args:
        items: what one call receives `batch_size` of.
        worker_class: its instances, one per actor, map a list of items to a list of rows.
    """
    with connect(address, config, config.scoring_workers * config.cpus_per_worker, "ray.data"):
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = ordered
        for packed in row_batches.windows(items, batch_size):
            mapped = ray.data.from_items(packed, override_num_blocks=len(packed)).map_batches(
                row_batches.BatchActor,
                fn_constructor_args=(worker_class, constructor_kwargs),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=config.scoring_workers),
                num_cpus=config.cpus_per_worker,
                num_gpus=config.resources_per_worker.get("GPU", 0),
                max_task_retries=row_batches.RETRIES,
            )
            yield from row_batches.answers(mapped.iter_rows())


def tune(
    trial: Callable[[dict[str, Any], Callable[[Mapping[str, Any]], None]], None],
    search: Search,
    folder: Path,
    config: ClusterConfig,
    address: str = "",
) -> list[dict[str, Any]]:
    """Run the search, or run it again where it was killed, and return one row per trial.

    Args:
        trial: (values, report) -> None; picklable; reports all objectives and the clock, and
            what it has done before without doing it again.
        search: what to vary and how to judge.
        folder: Ray's own folder of the search, made anew.

    Returns:
        Per trial its `values`, last `metrics`, and `error` (None when it went well).
    """
    with connect(address, config, search.concurrent * config.cpus_per_worker, "ray.tune"):
        from ray import tune as ray_tune

        from pipeline.cluster.search_door import search_options

        stage = None if address else Guardian.of_this_process()

        def trainable(values: dict[str, Any]) -> None:
            if stage:
                end_with(stage)
            trial(values, lambda metrics: ray_tune.report(dict(metrics)))

        runnable = ray_tune.with_resources(trainable, config.resources_per_worker)
        # Ray's own state is not used: trials find what they have done in their own folders, so a
        # search that begins again meets the same points and results, in the same order.
        shutil.rmtree(folder, ignore_errors=True)
        tuner = ray_tune.Tuner(runnable, **search_options(search, folder, config))
        results = [r for r in tuner.fit() if r.config is not None]
    return [{"values": r.config, "metrics": r.metrics or {}, "error": r.error} for r in results]


def submit(
    command: str,
    address: str,
    name: str,
    environment: dict[str, str],
    prepare: Callable[[], None],
    say: Callable[[str], None],
) -> str:
    """Run `command` on the cluster's head as a job, `say` its log, and wait for its end.

    A job of that name that still runs is joined, not doubled: a launcher that died is simply
    started again. `prepare` is called before a new one starts. The code (the working directory
    without data and results) travels with the job.

    Returns:
        Ray's last word: SUCCEEDED, FAILED or STOPPED.
    """
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        running = {job.submission_id: not job.status.is_terminal() for job in client.list_jobs()}
        if name in running and not running[name]:
            client.delete_job(name)
        if not running.get(name):
            prepare()
            runtime = {"working_dir": os.getcwd(), "excludes": EXCLUDES, "env_vars": environment}
            client.submit_job(entrypoint=command, submission_id=name, runtime_env=runtime)
    except (ConnectionError, RuntimeError) as error:
        raise failures.unreachable(address, error) from error

    async def tail() -> None:
        async for text in client.tail_job_logs(name):
            for line in text.splitlines():
                say(line)

    try:
        asyncio.run(tail())
        return str(client.get_job_status(name).value)
    except (OSError, RuntimeError) as error:
        raise failures.lost(address, str(error).strip().splitlines()[0][:160]) from error
