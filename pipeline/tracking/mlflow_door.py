"""The only door to MLflow: turn spooled events into calls, and register models.

Every call names its run and its server, no global state of MLflow's is used. Sending an event twice
leaves one: SQL stores ignore an equal point (same key, step, time, value), and runs and images are
looked up first when an earlier attempt may have arrived.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.errors import StorageError, printable
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.moved import FOLDER, mend
from pipeline.tracking.pages import PARENT, VIEW_TAG, experiment_tags
from pipeline.tracking.spool import Event

PARAMS_PER_CALL = 100


def tracking_uri(config: TrackingConfig, runs: Path) -> str:
    """Return where MLflow is: the parameter, else the environment, else sqlite in runs."""
    return config.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs}/mlflow.db"


@functools.cache
def open_door(config: TrackingConfig, runs: Path) -> MlflowDoor:
    """Return the process's one client of this server; a failed attempt is not remembered."""
    return MlflowDoor(config, runs)


class MlflowDoor:
    """A client of one MLflow server, its database and experiments made ready."""

    def __init__(self, config: TrackingConfig, runs: Path) -> None:
        # MLflow's own patience (120 s, 7 retries) is far beyond ours; the sender retries by itself.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(config.request_timeout_s))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        import mlflow

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.uri = tracking_uri(config, runs)
        self._runs = runs
        with self._initialisation():
            if self.uri == f"sqlite:///{runs}/mlflow.db":
                for old in mend(runs / "mlflow.db", runs):
                    line = f"tracking: the runs folder was moved from {old}: MLflow's paths follow"
                    print(printable(line), file=sys.stderr, flush=True)
            self.client = mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            search = config.search_experiment
            self.experiments = {
                name: self._experiment(
                    name, experiment_tags(name, is_search=name == search, other=search)
                )
                for name in (config.experiment, search)
            }

    @property
    def is_remote(self) -> bool:
        """Whether a server owns the store (and decides where artifacts go)."""
        return self.uri.startswith(("http://", "https://", "databricks"))

    def send(self, run_id: str | None, group: list[Event], *, in_doubt: bool) -> str:
        """Send one group of events; return the id of the run it belongs to.

        Args:
            run_id: the run, or None when its first event is in this group.
            group: one group of `grouped`.
            in_doubt: whether the group may have arrived already.

        Raises:
            Exception: whatever MLflow raises when it cannot be reached.
        """
        from mlflow.exceptions import MlflowException

        first = group[0]
        if first["op"] == "run":
            return self._open_run(first, in_doubt)
        assert run_id is not None, "an event before the run's first line"
        try:
            getattr(self, f"_send_{first['op']}")(run_id, group, in_doubt)
        except MlflowException as error:
            # A refused value will be refused again: leave it in the spool and go on.
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
                raise
        except FileNotFoundError:
            pass  # the file was deleted before it could be sent
        return run_id

    def find_run(self, key: str) -> str | None:
        """Return the id of the run that carries this key, or None."""
        found = self.client.search_runs(
            list(self.experiments.values()), f"tags.`ganline.key` = '{key}'", max_results=1
        )
        return found[0].info.run_id if found else None

    @contextmanager
    def _initialisation(self) -> Iterator[None]:
        """Create the database in one process at a time: three at once all crash."""
        self._runs.mkdir(parents=True, exist_ok=True)
        with (self._runs / ".mlflow.lock").open("a") as lock:
            if not self.is_remote:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _experiment(self, name: str, tags: dict[str, str]) -> str:
        """Return the id of an experiment, made if need be; what a person wrote there stays."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            # Without a location MLflow writes to ./mlruns of whatever folder the process stands in.
            place = None if self.is_remote else (self._runs / FOLDER / name).as_uri()
            return self.client.create_experiment(name, artifact_location=place, tags=tags)
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        for key, value in tags.items():
            if key not in found.tags or (key.startswith(VIEW_TAG) and found.tags[key] != value):
                self.client.set_experiment_tag(found.experiment_id, key, value)
        return found.experiment_id

    def _open_run(self, event: Event, in_doubt: bool) -> str:
        if in_doubt and (known := self.find_run(event["key"])):
            return known
        tags = dict(event["tags"])
        if event["parent_key"]:
            parent = self.find_run(event["parent_key"])
            if parent is None:
                raise LookupError("the run above is not known to MLflow yet")
            tags[PARENT] = parent
        run = self.client.create_run(
            self.experiments[event["experiment"]], event["time_ms"], tags, event["name"]
        )
        return run.info.run_id

    def _send_metrics(self, run_id: str, group: list[Event], in_doubt: bool) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, event["time_ms"], event["step"])
            for event in group
            for name, value in event["values"].items()
        ]
        self.client.log_batch(run_id, metrics=metrics, synchronous=True)

    def _send_params(self, run_id: str, group: list[Event], in_doubt: bool) -> None:
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in group[0]["values"].items()]
        for start in range(0, len(params), PARAMS_PER_CALL):
            part = params[start : start + PARAMS_PER_CALL]
            self.client.log_batch(run_id, params=part, synchronous=True)

    def _send_tags(self, run_id: str, group: list[Event], in_doubt: bool) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(name, value) for name, value in group[0]["values"].items()]
        self.client.log_batch(run_id, tags=tags, synchronous=True)

    def _send_image(self, run_id: str, group: list[Event], in_doubt: bool) -> None:
        from PIL import Image

        event = group[0]
        step, time_ms = event["step"], event["time_ms"]
        if in_doubt:
            mark = f"{event['key'].replace('/', '~')}+step+{step}+timestamp+{time_ms}+"
            names = [item.path for item in self.client.list_artifacts(run_id, "images")]
            if any(mark in name and name.endswith(".webp") for name in names):
                return
        with Image.open(event["file"]) as image:
            image.load()
        self.client.log_image(
            run_id, image, key=event["key"], step=step, timestamp=time_ms, synchronous=True
        )

    def _send_artifact(self, run_id: str, group: list[Event], in_doubt: bool) -> None:
        path, folder = group[0]["file"], group[0]["folder"] or None
        if os.path.isdir(path):
            self.client.log_artifacts(run_id, path, folder)
        else:
            self.client.log_artifact(run_id, path, folder)

    def _send_dataset(self, run_id: str, group: list[Event], in_doubt: bool) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        event = group[0]
        dataset = Dataset(
            name=event["name"],
            digest=event["digest"],
            source_type="local",
            source=f'{{"uri": "{event["source"]}"}}',
        )
        tags = [InputTag("mlflow.data.context", event["context"])]
        self.client.log_inputs(run_id, [DatasetInput(dataset=dataset, tags=tags)])

    def _send_resume(self, run_id: str, group: list[Event], in_doubt: bool) -> None:
        self.client.update_run(run_id, "RUNNING")

    def _send_end(self, run_id: str, group: list[Event], in_doubt: bool) -> None:
        self.client.set_terminated(run_id, group[0]["status"], group[0]["time_ms"])


def register_model(
    config: TrackingConfig,
    runs: Path,
    *,
    run_id: str,
    name: str,
    python_model: Path,
    artifacts: dict[str, str],
    input_example: Any,
    output_example: Any,
    params: dict[str, Any],
    pip_requirements: list[str],
    tags: dict[str, str],
    notes: tuple[str, str],
    code_paths: list[str] | None = None,
) -> str:
    """Log a models-from-code pyfunc below a run and register it; return the new version.

    Args:
        config, runs: as for `MlflowDoor`.
        run_id: the run that owns the model (`Tracker.run_id`).
        name: name of the registered model.
        python_model: the file that calls `mlflow.models.set_model`.
        artifacts: name -> folder or file that the model loads.
        input_example, output_example: what the signature is inferred from.
        params: name -> default of the parameters a request may give.
        pip_requirements: what a server has to install.
        tags: tags of the version.
        notes: descriptions of the registered model and of the version, Markdown.
        code_paths: packages to ship with the model, or None.
    """
    import mlflow
    from mlflow.models import infer_signature

    door = open_door(config, runs)
    mlflow.set_tracking_uri(door.uri)  # pyfunc.log_model has no argument for it
    mlflow.set_registry_uri(door.uri)
    with mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(
            name="generator",
            python_model=str(python_model),
            artifacts=artifacts,
            signature=infer_signature(input_example, output_example, params),
            input_example=(input_example, params),
            pip_requirements=pip_requirements,
            code_paths=code_paths,
            registered_model_name=name,
        )
    version = str(info.registered_model_version)
    for key, value in tags.items():
        door.client.set_model_version_tag(name, version, key, value)
    if not door.client.get_registered_model(name).description:  # a person's words stay
        door.client.update_registered_model(name, notes[0])
    door.client.update_model_version(name, version, notes[1])
    return version


def set_alias(config: TrackingConfig, runs: Path, *, name: str, alias: str, version: str) -> None:
    """Point an alias of a registered model at a version."""
    open_door(config, runs).client.set_registered_model_alias(name, alias, version)


def fetch_registered(config: TrackingConfig, runs: Path, uri: str) -> Path:
    """Return the folder of a registered model, fetched if a server has it.

    Raises:
        StorageError: the store has no such model, or cannot be reached.
    """
    import mlflow

    door = open_door(config, runs)
    mlflow.set_tracking_uri(door.uri)
    mlflow.set_registry_uri(door.uri)
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except Exception as error:
        what = f"{door.uri} does not give it: {' '.join(str(error).split())[:160]}"
        raise StorageError(what, uri, "see `make ui` for names and versions") from None
