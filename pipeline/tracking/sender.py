"""The thread between a run's spool and MLflow: sends in order, retries, never blocks its owner."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.places import runs_folder
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.spool import Event, Spool

if TYPE_CHECKING:
    from pipeline.tracking.mlflow_door import MlflowDoor


class Sender(threading.Thread):
    """Send a spool's events in order, retrying from where it stopped."""

    def __init__(self, spool: Spool, config: TrackingConfig, say: Callable[[str], None]) -> None:
        super().__init__(name="mlflow-sender", daemon=True)
        self._spool, self._config, self._say = spool, config, say
        sent = spool.sent()[0]
        self._waiting: deque[Event] = deque(e for e in spool.events() if e["seq"] > sent)
        self._in_doubt = sent >= 0  # an earlier process may have sent more than it noted
        self._wake = threading.Condition()
        self._closing = self._failing = self._given_up = False
        self._door: MlflowDoor | None = None

    def put(self, event: Event) -> None:
        """Queue one event."""
        with self._wake:
            self._waiting.append(event)
            self._wake.notify()

    def finish(self, timeout_s: float) -> int:
        """Let the thread end; return how many events it could not send in time."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self.join(min(timeout_s, 1.0) if self._failing else timeout_s)
        self._given_up = True
        return len(self._waiting)

    def run(self) -> None:
        """Send until closed and empty, or until closed and failing."""
        pause_s = 1.0
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    break
                batch = list(self._waiting)[:200]
            try:
                self.send(batch)
                pause_s, self._failing = 1.0, False
            except LookupError:  # the run above opens in its own thread: soon
                time.sleep(0.2)
                if self._given_up:
                    break
            except Exception as error:
                self._warn_once(error)
                self._in_doubt = True
                with self._wake:
                    if self._closing or (self._wake.wait_for(lambda: self._closing, pause_s)):
                        break
                pause_s = min(2 * pause_s, 60.0)
        if not self._waiting:
            self._spool.drop_copies()

    def send(self, batch: list[Event]) -> None:
        """Send some events and note each group that arrived."""
        from pipeline.tracking.mlflow_door import open_door
        from pipeline.tracking.spool import grouped

        if self._door is None:
            self._door = open_door(self._config, runs_folder())
        run_id = self._spool.sent()[1]
        for group in grouped(batch):
            run_id = self._door.send(run_id, group, in_doubt=self._in_doubt)
            self._spool.mark_sent(group[-1]["seq"], run_id)
            with self._wake:
                for _ in group:
                    self._waiting.popleft()
        self._in_doubt = False

    def _warn_once(self, error: Exception) -> None:
        if not self._failing and not self._given_up:  # Who gave up has said it.
            text = " ".join(str(error).split())[:200]
            self._say(
                f"warning: MLflow does not answer ({text}); the run goes on and is recorded in "
                f"{self._spool.path}; `ganline sync` sends it later"
            )
        self._failing = True
