"""Tell MLflow what a stage does, without ever waiting for it.

A `Tracker` writes every event to its spool on disk first and hands it to a thread that sends. When
MLflow is down, slow or broken the thread warns once, keeps trying and gives up at the end of the
stage; `ganline sync` sends the rest later. Nothing here raises into training.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.places import runs_folder
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.pages import NOTE, run_note
from pipeline.tracking.sender import Sender
from pipeline.tracking.spool import Event, Spool, spool_for
from pipeline.tracking.system_metrics import SYSTEM_PREFIX, SystemMetrics

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class RunIdentity:
    """What makes a tracked run findable again: plain text, so it may travel to another process.

    Attributes:
        stage, fingerprint: name of its local record.
        experiment, name: in MLflow.
        key: what the MLflow run carries; "" = a new one.
        parent_key: of the run that it is nested below, or "".
        started_ms: when it began; 0 = now.
        reopens: whether it goes on after it has ended.
    """

    stage: str
    fingerprint: str
    experiment: str
    name: str = ""
    key: str = ""
    parent_key: str = ""
    started_ms: int = 0
    reopens: bool = False


class Tracker:
    """One tracked run. Open with `open_stage_tracker` or `child`, end with `close`."""

    def __init__(
        self,
        config: TrackingConfig,
        identity: RunIdentity,
        tags: dict[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._config, self._identity, self._say = config, identity, say
        self._spool: Spool | None = None
        self._sender: Sender | None = None
        self._system: SystemMetrics | None = None
        self._known_points: set[tuple[str, int]] = set()
        if identity.stage:
            self._safely(lambda: self._open(tags))

    @classmethod
    def silent(cls) -> Tracker:
        """Return a tracker that keeps nothing (for --dry-run)."""
        return cls(TrackingConfig(enabled=False), RunIdentity("", "", ""), {}, lambda text: None)

    @property
    def identity(self) -> dict[str, str]:
        """Where this run is recorded: the spool's file and the key its MLflow run carries."""
        path = str(self._spool.path) if self._spool else ""
        return {"spool": path, "key": self._identity.key, "experiment": self._identity.experiment}

    def run_id(self, timeout_s: float = 0.0) -> str | None:
        """Return the MLflow run's id, waiting until it is known; None without MLflow."""
        limit = time.monotonic() + timeout_s
        while self._spool is not None:
            known = self._spool.sent()[1]
            if known or time.monotonic() >= limit:
                return known
            time.sleep(0.05)
        return None

    def log_params(self, values: dict[str, Any]) -> None:
        """Record parameters; nested keys become dotted names."""
        self._event("params", values=_flat(values))

    def log_metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Record numbers at a step (images seen); points sent before a restart are skipped."""
        numbers = {}
        for name, value in values.items():
            if (name, int(step)) not in self._known_points:
                numbers[name] = float(value)
        if numbers:
            self._event("metrics", values=numbers, step=int(step))

    def log_image(self, key: str, image: Image, step: int) -> None:
        """Record an image of a series; MLflow shows the series with a step slider."""
        if (key, int(step)) in self._known_points:
            return

        def write() -> None:
            assert self._spool is not None
            path = self._spool.new_file("image.png")
            image.save(path)
            self._event("image", key=key, file=str(path), step=int(step))

        self._safely(write)

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Record a file or a folder."""

        def write() -> None:
            assert self._spool is not None
            self._event("artifact", file=self._spool.keep_copy(Path(path)), folder=folder)

        self._safely(write)

    def log_text(self, text: str, name: str) -> None:
        """Record text as an artifact of that name."""

        def write() -> None:
            assert self._spool is not None
            path = self._spool.new_file(name)
            path.write_text(text, encoding="utf-8")
            self._event("artifact", file=str(path), folder="")

        self._safely(write)

    def log_dataset(self, name: str, digest: str, source: str, context: str = "training") -> None:
        """Record which data the run read. digest: at most 36 characters of its content hash."""
        self._event("dataset", name=name, digest=digest[:36], source=source, context=context)

    def set_tags(self, tags: dict[str, str]) -> None:
        """Record tags."""
        self._event("tags", values={name: str(value) for name, value in tags.items()})

    def trial(self, key: str, name: str, tags: dict[str, str], started_ms: int) -> Tracker:
        """Open the run of a trial; the same key resumes an unfinished one.

        It stands beside this run, for MLflow leaves the curves and pictures of nested runs out of
        an experiment's charts; a tag names the search.
        """
        identity = RunIdentity(
            stage=f"{self._identity.stage}.trial-{key}",
            fingerprint=self._identity.fingerprint,
            experiment=self._identity.experiment,
            name=name,
            started_ms=started_ms,
        )
        if not self._identity.stage:
            return Tracker.silent()
        config = replace(self._config, system_every_s=0.0)
        above = {"stage": "trial", "search": self._identity.key}
        return Tracker(config, identity, {**above, **tags}, self._say)

    def close(
        self, status: str = "FINISHED", ended_ms: int = 0, wait_s: float | None = None
    ) -> None:
        """End the run and wait until MLflow has everything.

        Args:
            status: MLflow's name of how it ended.
            ended_ms: when; 0 = now.
            wait_s: how long at most, in seconds; None = `flush_timeout_s`.
        """
        if self._spool is None:
            return
        if self._system is not None:
            self._system.stop()
        self._event("end", status=status, **({"time_ms": ended_ms} if ended_ms else {}))
        spool = self._spool
        if self._sender is not None:
            left = self._sender.finish(self._config.flush_timeout_s if wait_s is None else wait_s)
            if left:
                self._say(
                    f"warning: MLflow did not take {left} of this run's lines; they are kept in "
                    f"{spool.path}: run `ganline sync` when it is back"
                )
        self._safely(spool.release)

    def _open(self, tags: dict[str, str]) -> None:
        identity = self._identity
        folder = runs_folder() / "tracking"
        self._spool = spool_for(
            folder, identity.stage, identity.fingerprint, reopens=identity.reopens
        )
        before = self._spool.events()
        if before:
            self._identity = replace(identity, key=before[0]["key"])
            self._known_points = _points(before)
        else:
            self._identity = replace(identity, key=uuid.uuid4().hex)
            self._spool.append(self._first_event(tags))
        if self._config.enabled:
            self._sender = Sender(self._spool, self._config, self._say)
            self._sender.start()
        if self._config.system_every_s:
            started_s = before[0]["time_ms"] / 1000 if before else time.time()
            self._system = SystemMetrics(self.log_metrics, self._config.system_every_s, started_s)
            self._system.start()
        if before:
            self._event("resume")
            again = {} if identity.reopens else {"resumed": "true"}
            self._event("tags", values={**tags, **again})

    def _first_event(self, tags: dict[str, str]) -> Event:
        identity = self._identity
        known = {"fingerprint": identity.fingerprint, "ganline.key": identity.key}
        return {
            "op": "run",
            "key": identity.key,
            "parent_key": identity.parent_key,
            "experiment": identity.experiment,
            "name": identity.name or f"{identity.stage}-{identity.fingerprint[:8]}",
            # The note is told once: what a person writes there stays.
            "tags": {NOTE: run_note(identity.stage), **tags, **known},
            "time_ms": identity.started_ms or _now_ms(),
        }

    def _event(self, op: str, **content: Any) -> None:
        def write() -> None:
            assert self._spool is not None
            event = self._spool.append({"op": op, "time_ms": _now_ms(), **content})
            if self._sender is not None:
                self._sender.put(event)

        self._safely(write)

    def _safely(self, action: Callable[[], object]) -> None:
        if self._identity.stage == "":
            return
        try:
            action()
        except Exception as error:
            self._say(f"warning: tracking could not record something: {error}")


def open_stage_tracker(
    tracking: TrackingConfig,
    *,
    stage: str,
    fingerprint: str,
    config: dict[str, Any],
    tags: dict[str, str],
    say: Callable[[str], None],
    above: Tracker | None = None,
) -> Tracker:
    """Open the run of one stage and record its resolved parameters.

    Args:
        tracking: where, and how long to wait.
        stage, fingerprint: what makes it findable again.
        config: the resolved parameters.
        tags: of the run.
        say: takes a warning.
        above: the run of the pipeline that the stage's is nested below; a search stands alone.
    """
    import yaml

    experiment = tracking.search_experiment if stage == "tune" else tracking.experiment
    parent = above.identity["key"] if above is not None and stage != "tune" else ""
    name = f"search {time.strftime('%d %b %H:%M')}" if stage == "tune" else ""
    identity = RunIdentity(stage, fingerprint, experiment, name=name, parent_key=parent)
    tracker = Tracker(tracking, identity, tags, say)
    tracker.log_params(config)
    tracker.log_text(yaml.safe_dump(config, sort_keys=False), "config.yaml")
    return tracker


def _points(events: list[Event]) -> set[tuple[str, int]]:
    """Return what an earlier process recorded, as (name, step); system readings may come again."""
    points = set()
    for event in events:
        if event["op"] == "metrics":
            names = [name for name in event["values"] if not name.startswith(SYSTEM_PREFIX)]
            points |= {(name, event["step"]) for name in names}
        elif event["op"] == "image":
            points.add((event["key"], event["step"]))
    return points


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def _now_ms() -> int:
    return int(time.time() * 1000)
