"""Decide where training and search run: on this machine, on its cluster, or as a job elsewhere.

RAY_ADDRESS decides: unset = a private Ray on this machine; `auto` or `host:port` = that cluster;
`http(s)://head:8265` = a job on the head of that cluster. In the last two cases the one thing that
launcher and nodes must share is the folder GANLINE_RUNS_DIR, under the same path: inputs are linked
or copied into it, run folders lie in it, the launcher fetches the result from it. On the cluster a
job runs

    python -m pipeline.cluster.launch RUN_DIR/task.json
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.durable_files import replace_file
from components.errors import ConfigError, GanlineError, ResourceError
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


def share_input(folder: Path, digest: str) -> Path:
    """Return where workers find an input: itself, or for a cluster its copy in the shared folder.

    Args:
        folder: the input.
        digest: hash of its content; a copy that is there already is used again.
    """
    if not ray_address():
        return folder.absolute()
    target = runs_folder() / "inputs" / f"{folder.name}-{digest[:12]}"
    if not target.exists():
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(folder, temporary, copy_function=_link_or_copy)
        try:
            temporary.rename(target)
        except OSError:  # Another launcher was first.
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


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
    address, run_dir = ray_address(), Path(job.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    with stopping_softly(run_dir, say):
        if not address:
            with watched(run_dir, config.hang_timeout_s, say):
                return train_here(job, config, address)
        if not is_distant(address):
            return train_here(job, config, address)
        task = {"job": dataclasses.asdict(job), "cluster": dataclasses.asdict(config)}
        return _submit(task, address, run_dir, say)


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
    if not is_distant(address):
        return _search_here(settings, search, run_dir, config, address)
    task = {"settings": settings, "search": dataclasses.asdict(search)}
    task["cluster"] = dataclasses.asdict(config)
    return _submit(task, address, run_dir, say)


def submit_rows(config: ClusterConfig, address: str, say: Callable[[str], None]) -> Submit:
    """Return what runs `row_job.serve` as a job at an address."""

    def submit(task: dict[str, Any], folder: Path, key: str) -> Any:
        whole = {"rows": task, "cluster": dataclasses.asdict(config)}
        return _submit(whole, address, folder, say, {KEY: key})

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
    with _only_command(Path(job.run_dir)):
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
    more: dict[str, str] | None = None,
) -> Any:
    """Run a task as a job on a distant cluster; `more` are environment variables of the job."""
    outcome = run_dir / OUTCOME

    def prepare() -> None:
        replace_file(run_dir / TASK, json.dumps(task, indent=1))
        outcome.unlink(missing_ok=True)

    command = f"python -m pipeline.cluster.launch {shlex.quote(str(run_dir / TASK))}"
    environment = {"GANLINE_RUNS_DIR": str(runs_folder())} | (more or {})
    status = ray_door.submit(command, address, run_dir.name, environment, prepare, say)
    if not outcome.is_file():
        raise ResourceError(
            f"the job ended as {status} without a result",
            f"job {run_dir.name} on {address}",
            f"is {runs_folder()} the same folder here and on every node? The log above says more",
        )
    return unwrap(json.loads(outcome.read_text()))


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
    path = Path((sys.argv[1:] if argv is None else argv)[0])
    outcome = path.with_name(OUTCOME)
    outcome.unlink(missing_ok=True)
    task = json.loads(path.read_text())
    config, code = ClusterConfig(**task["cluster"]), 0
    try:
        result = {"result": _run_task(task, path.parent, config)}
    except GanlineError as error:
        result, code = {"failure": failure_to_dict(error)}, error.exit_code
        print(f"error: {error}", file=sys.stderr)
    replace_file(outcome, json.dumps(result, indent=1))
    return code


if __name__ == "__main__":
    sys.exit(main())
