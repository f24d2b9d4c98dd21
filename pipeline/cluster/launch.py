"""Decide where training and search run: on this machine, on its cluster, or as a job elsewhere.

RAY_ADDRESS decides: unset = a private Ray on this machine; `auto` or `host:port` = that cluster;
`http(s)://head:8265` = a job on the head of that cluster. In the last two cases the one thing that
launcher and nodes must share is the folder GANLINE_RUNS_DIR, under the same path: inputs are linked
or copied into it, run folders lie in it, the launcher fetches the result from it. With
`cluster.store` they share nothing but a store. On the cluster a job runs

    python -m pipeline.cluster.launch RUN_DIR/task.json
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.data.at_hand import run_folder
from components.data.far_files import place_of
from components.data.far_folders import below, is_address, split
from components.data.far_objects import NotThere, read_object, remove_object, write_object
from components.errors import ConfigError, GanlineError, ResourceError, StorageError
from components.training.far_run import FarRun, following, following_trials
from components.training.job import TrainingJob
from components.training.lock import RunLock
from components.tuning import Search, run_trial
from pipeline.cluster import ray_door
from pipeline.cluster.answering import check_answers
from pipeline.cluster.config import ClusterConfig
from pipeline.cluster.failures import failure_from_dict, failure_to_dict
from pipeline.cluster.row_job import KEY, Submit, serve
from pipeline.cluster.soft_stop import stopping_softly
from pipeline.cluster.watchdog import watched
from pipeline.places import runs_folder

TASK, OUTCOME = "task.json", "outcome.json"


def ray_address() -> str:
    """Return RAY_ADDRESS, '' when the stage is to run on this machine alone.

    Raises:
        ConfigError: it is Ray's client's.
        ResourceError: nobody answers there.
    """
    address = os.environ.get("RAY_ADDRESS", "").strip()
    if address.startswith("ray://"):
        raise ConfigError(
            "the Ray client cannot carry a long training",
            f"RAY_ADDRESS={address}",
            "use http://head:8265 (a job) or, on the head itself, auto",
        )
    check_answers(address)
    return "" if address == "local" else address


def is_distant(address: str) -> bool:
    """Return whether what runs there is a submitted job."""
    return address.startswith(("http://", "https://"))


def run_training(
    job: TrainingJob, config: ClusterConfig, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train a job where RAY_ADDRESS says and return what `run_job` returned.

    Args:
        job: with absolute paths.
        config: the cluster section.
        say: receives the log of a submitted job.

    Raises:
        GanlineError: what training raised, wherever it ran.
    """
    run_dir = Path(job.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    if not job.kept_in:
        with stopping_softly(run_dir, say):
            return _train(job, config, say)
    far = FarRun(job.kept_in, run_dir)
    if far.take_artifact():  # another command was here before
        say(f"{job.stage}: {far.place} is finished, taking its artifact")
        return {"session": {}}
    with stopping_softly(run_dir, say), following(job, say):
        result = _train(job, config, say)
    if not far.take_artifact():
        raise StorageError("no artifact came", str(far.place), "run the same command again")
    return result


def _train(job: TrainingJob, config: ClusterConfig, say: Callable[[str], None]) -> dict[str, Any]:
    address = ray_address()
    if not address:
        with watched(Path(job.here().run_dir), config.hang_timeout_s, say):
            return train_here(job, config, address)
    if not is_distant(address):
        return train_here(job, config, address)
    task = {"job": dataclasses.asdict(job), "cluster": dataclasses.asdict(config)}
    return _submit(task, address, Path(job.run_dir), say, kept_in=job.kept_in)


def run_search(
    settings: dict[str, Any],
    search: Search,
    run_dir: Path,
    config: ClusterConfig,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run a search where RAY_ADDRESS says and return one row per trial, as `ray_door.tune` does.

    Args:
        settings: of `components.tuning.run_trial`.
        search: what to vary and how to judge.
        run_dir: the search's run folder.
        config: the cluster section.
        say: receives the log of a submitted job.
    """
    address = ray_address()
    run_dir.mkdir(parents=True, exist_ok=True)
    with following_trials(settings["kept_in"], Path(settings["folder"]), say):
        if not is_distant(address):
            return _search_here(settings, search, run_dir, config, address)
        task = {"settings": settings, "search": dataclasses.asdict(search)}
        task["cluster"] = dataclasses.asdict(config)
        return _submit(task, address, run_dir, say, kept_in=settings["kept_in"])


def submit_rows(config: ClusterConfig, address: str, say: Callable[[str], None]) -> Submit:
    """Return what runs `row_job.serve` as a job at an address."""

    def submit(task: dict[str, Any], folder: Path, key: str) -> Any:
        whole = {"rows": task, "cluster": dataclasses.asdict(config)}
        return _submit(whole, address, folder, say, more={KEY: key})

    return submit


def _search_here(
    settings: dict[str, Any], search: Search, run_dir: Path, config: ClusterConfig, address: str
) -> list[dict[str, Any]]:
    with _only_command(run_dir):
        trial = functools.partial(run_trial, settings)
        rows = ray_door.tune(trial, search, run_dir / "ray", config, address)
    return [{**row, "error": row["error"] and str(row["error"])} for row in rows]


def train_here(job: TrainingJob, config: ClusterConfig, address: str) -> dict[str, Any]:
    """Train from this process on the Ray at `address`.

    A worker's lock that a dead worker has left can only be this run's own, since one command at a
    time runs it: the lock's token is the run's, and it is taken over.
    """
    with _only_command(Path(job.here().run_dir)):
        return ray_door.train(dataclasses.replace(job, owner=job.fingerprint), config, address)


@contextmanager
def _only_command(run_dir: Path) -> Iterator[None]:
    """Keep a second command off the run folder, before it starts Ray."""
    lock = RunLock(run_dir / "command")
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _submit(
    task: dict[str, Any],
    address: str,
    run_dir: Path,
    say: Callable[[str], None],
    *,
    kept_in: str = "",
    more: dict[str, str] | None = None,
) -> Any:
    """Run a task as a job on a distant cluster.

    Args:
        task, address, run_dir, say: what, where, its folder here, and who hears the log.
        kept_in: address in a store where both meet; "" = the run folder, which both see.
        more: environment variables of the job.
    """
    place, written = place_of(kept_in or run_dir), str(run_dir / TASK)
    environment, same = {"GANLINE_RUNS_DIR": str(runs_folder())}, f"is {runs_folder()} the same"
    todo = f"{same} folder here and on every node? The log above says more"
    if kept_in:
        written, environment = below(kept_in, TASK), {}
        todo = "does the head read and write the store? The log above says more"

    def prepare() -> None:
        write_object(place / TASK, json.dumps(task, indent=1).encode())
        remove_object(place / OUTCOME)

    command = f"python -m pipeline.cluster.launch {shlex.quote(written)}"
    environment |= more or {}
    status = ray_door.submit(command, address, run_dir.name, environment, prepare, say)
    try:
        outcome = read_object(place / OUTCOME)
    except NotThere:
        what = f"the job ended as {status} without a result"
        raise ResourceError(what, f"job {run_dir.name} on {address}", todo) from None
    return unwrap(json.loads(outcome))


def unwrap(outcome: dict[str, Any]) -> Any:
    """Return the result of a task, or raise the error that it ended with."""
    if "failure" in outcome:
        raise failure_from_dict(outcome["failure"])
    return outcome["result"]


def _run_task(task: dict[str, Any], run_dir: Path, config: ClusterConfig) -> Any:
    if "job" in task:
        return train_here(TrainingJob(**task["job"]), config, "auto")
    if "rows" in task:
        return serve(run_dir, config, key=os.environ[KEY], **task["rows"])
    return _search_here(task["settings"], Search(**task["search"]), run_dir, config, "auto")


def main(argv: list[str] | None = None) -> int:
    """Run a task on the cluster whose head this is, and leave its outcome beside it."""
    written = (sys.argv[1:] if argv is None else argv)[0]
    above = split(written)[0] if is_address(written) else str(Path(written).parent)
    place, run_dir = place_of(above), run_folder(above) if is_address(above) else Path(above)
    remove_object(place / OUTCOME)
    task = json.loads(read_object(place / TASK))
    config, code = ClusterConfig(**task["cluster"]), 0
    try:
        result = {"result": _run_task(task, run_dir, config)}
    except GanlineError as error:
        result, code = {"failure": failure_to_dict(error)}, error.exit_code
        print(f"error: {error}", file=sys.stderr)
    write_object(place / OUTCOME, json.dumps(result, indent=1).encode())
    return code


if __name__ == "__main__":
    sys.exit(main())
