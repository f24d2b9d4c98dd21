"""Follow a running training: read its metrics.jsonl, tell the tracker, and show how far it is.

Rank 0 writes the file, wherever it runs; the command that started it only reads. So the command may
die and be started again, and the training may run on another machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import printable
from components.repeating import repeating
from pipeline.live.board import Board, board_of
from pipeline.live.left import duration

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.tracking.tracker import Tracker

METRICS = "metrics.jsonl"
POLL_S = 0.5
# Of a tick, what tells of the machine: it differs from run to run, so no file in git holds it.
OF_THE_MACHINE = frozenset(
    ("seconds", "seconds_per_kimg", "images_per_s", "memory_gib", "gpu_memory_gib", "world_size")
)
SPREAD = "look/"
# Of a tick, what is no metric.
_NO_METRIC = ("kind", "nimg", "goal_kimg", "eta_s")


def read_ticks(run_dir: Path) -> list[dict[str, Any]]:
    """Return the ticks in order, one per number of images seen."""
    ticks = {}
    path = run_dir / METRICS
    for record in _records(path.read_text()) if path.is_file() else ():
        if record.get("kind") == "tick":
            ticks[record["nimg"]] = record
    return [ticks[nimg] for nimg in sorted(ticks)]


def read_notices(run_dir: Path) -> list[str]:
    """Return what the run had to say besides ticks, in order."""
    path = run_dir / METRICS
    records = _records(path.read_text()) if path.is_file() else ()
    return [printable(str(r.get("text", ""))) for r in records if r.get("kind") == "notice"]


def metrics_of(tick: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a tick."""
    numbers = {name: value for name, value in tick.items() if isinstance(value, (int, float))}
    return {name: float(value) for name, value in numbers.items() if name not in _NO_METRIC}


def of_the_model(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that the same training gives on any machine of its kind."""
    return {name: value for name, value in metrics.items() if name not in OF_THE_MACHINE}


def line_of(tick: Mapping[str, Any]) -> str:
    """Return a tick as one line: how far, how fast, how long, how large, what D thinks."""
    gpu = tick.get("gpu_memory_gib") or 0.0
    parts = [
        f"{tick['kimg']:.4g}/{tick['goal_kimg']:g} kimg",
        f"{tick['seconds_per_kimg']:.1f} s/kimg",
        f"{tick['images_per_s']:.0f} images/s",
        f"{duration(tick['eta_s'])} left",
        f"{gpu:.1f} GiB on the GPU" if gpu else f"{tick['memory_gib']:.1f} GiB",
    ]
    # Mean sign of the discriminator's logits: +1 and -1 = it tells real from fake every time.
    signs = {name: value for name, value in tick.items() if name.endswith("_sign")}
    parts += [f"{n.removeprefix('stat/').replace('_', ' ')} {v:+.2f}" for n, v in signs.items()]
    return "  ".join(parts)


class Progress:
    """Shows and tracks the ticks of one run, each once.

    Args:
        run_dir: the run folder.
        tracker: receives metrics and sample grids against images seen.
        say: prints one line; ticks are said where nobody shows the board.
        name: of the stage; stands before each line.
        batch: images of one step; 0 = not known.
    """

    def __init__(
        self,
        run_dir: Path,
        tracker: Tracker,
        say: Callable[[str], None],
        name: str,
        batch: int = 0,
    ) -> None:
        self._run_dir, self._tracker, self._say, self._name = run_dir, tracker, say, name
        self._batch = batch
        self._written = 0
        self._shown_nimg = -1
        self._shown_images: set[str] = set()
        self._shown_notices: set[str] = set()
        self._largest: dict[str, float] = {}
        self._board = Board(name)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the run from a background thread for the time of the with block.

        What earlier commands have written is told to the tracker only, which knows what it knows.
        """
        self.catch_up(quietly=True)
        with board_of(self._name) as self._board:
            try:
                with repeating(self.catch_up, POLL_S, "progress"):
                    yield
            finally:
                self.catch_up()

    def catch_up(self, quietly: bool = False) -> None:
        """Take in what was written since the last call; show it unless `quietly`."""
        path = self._run_dir / METRICS
        written = path.stat().st_mtime_ns if path.is_file() else 0
        if written != self._written:
            self._written = written
            # The whole file: a resumed run rewrites its end.
            for tick in read_ticks(self._run_dir):
                if tick["nimg"] > self._shown_nimg:
                    self._shown_nimg = tick["nimg"]
                    self._tracker.log_metrics(metrics_of(tick), step=tick["nimg"])
                    self._show(tick, quietly)
            for text in read_notices(self._run_dir):
                if text not in self._shown_notices:
                    self._shown_notices.add(text)
                    if not quietly:
                        self._say(f"{self._name}  {text}")
        self._track_samples(quietly)

    def _show(self, tick: Mapping[str, Any], quietly: bool) -> None:
        for name, value in tick.items():
            if name.startswith(SPREAD):
                self._largest[name] = max(self._largest.get(name, 0.0), float(value))
        if quietly:
            return
        self._board.post(tick=dict(tick), largest=self._largest, batch=self._batch)
        if not self._board.is_watched:
            self._say(f"{self._name}  {line_of(tick)}")

    def _track_samples(self, quietly: bool) -> None:
        for path in sorted((self._run_dir / "samples").glob("*.png")):
            if path.stem not in self._shown_images:
                try:
                    image = _whole_image(path)
                except OSError:  # Still in writing: next time.
                    continue
                self._shown_images.add(path.stem)
                self._tracker.log_image("samples", image, int(path.stem))
                if not quietly:
                    self._board.post(sheet=str(path))
                    self._say(f"{self._name}  sample sheet {path}")


def _records(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # Torn by a kill in the middle of a write.
            continue
        if isinstance(record, dict):
            yield record


def _whole_image(path: Path) -> Image:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        return image.copy()
