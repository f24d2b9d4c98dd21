"""Draw a board for a terminal: what a training or a search has come to, as lines and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from components.errors import printable
from components.training.healthy import healthy_ranges
from pipeline.live.left import duration

MOST_NUMBERS, MOST_TRIALS = 8, 8
BAR = 32  # characters
# Of a tick, what is looked at while it runs; the rest is in MLflow.
SHOWN = (
    "loss/",
    "look/",
    "stat/discriminator/real_sign",
    "stat/discriminator/fake_sign",
    "measure/frechet",
)


def stage_view(facts: Mapping[str, Any]) -> RenderableType:
    """Return a stage's board: how far, how fast, how long, the numbers, the newest sheet."""
    parts: list[RenderableType] = []
    if tick := facts.get("tick"):
        parts += [
            _distance(tick, int(facts.get("batch") or 0)),
            _numbers(tick, facts.get("largest") or {}),
        ]
    if trials := facts.get("trials"):
        parts += [_trials(trials, int(facts.get("of") or len(trials)))]
    if sheet := facts.get("sheet"):
        parts.append(Text(f"newest sheet  {printable(str(sheet))}", overflow="fold"))
    return Group(*parts)


def left_of(facts: Mapping[str, Any]) -> float | None:
    """Return how many seconds the stage has left as it says itself, None when it does not."""
    if tick := facts.get("tick"):
        return float(tick.get("eta_s") or 0.0)
    left = facts.get("left_s")
    return None if left is None else float(left)


def _distance(tick: Mapping[str, Any], batch: int) -> RenderableType:
    gpu = tick.get("gpu_memory_gib") or 0.0
    words = [
        f"{tick['kimg']:.4g} of {tick['goal_kimg']:g} kimg",
        *([f"step {tick['nimg'] // batch:,}"] if batch else []),
        f"{tick['nimg']:,} images seen",
        f"{tick['images_per_s']:.0f} images/s",
        f"{duration(tick.get('eta_s') or 0.0)} left",
        f"{gpu:.1f} GiB on the GPU" if gpu else f"{tick['memory_gib']:.1f} GiB",
    ]
    line = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(tick["goal_kimg"], 1e-9), completed=tick["kimg"], width=BAR)
    line.add_row(bar, Text("  ".join(words)))
    return line


def _numbers(tick: Mapping[str, Any], largest: Mapping[str, float]) -> RenderableType:
    ranges = healthy_ranges(tick, largest)
    table = Table.grid(padding=(0, 2))
    names = [name for name in tick if name.startswith(SHOWN)]
    # What has a range first: it says whether all is well.
    for name in sorted(names, key=lambda name: name not in ranges)[:MOST_NUMBERS]:
        value, (low, high) = float(tick[name]), ranges.get(name, (-math.inf, math.inf))
        well = low <= value <= high
        style = "" if name not in ranges else "green" if well else "bold red"
        words = name.removeprefix("stat/").replace("/", " ").replace("_", " ")
        note = _range(low, high) + ("" if well else ": NOT HEALTHY")
        table.add_row(words, Text(f"{value:.4g}", style=style, justify="right"), note)
    return table


def _range(low: float, high: float) -> str:
    if low == -math.inf and high == math.inf:
        return ""
    if math.inf in (-low, high):
        return f"healthy above {low:.3g}" if high == math.inf else f"healthy below {high:.3g}"
    return f"healthy {low:.3g} to {high:.3g}"


def _trials(trials: list[dict[str, Any]], of: int) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for one in trials[-MOST_TRIALS:]:
        scores = [
            f"{word} {one[name]:.4g}"
            for name, word in (
                ("kimg", "kimg"),
                ("score", "score"),
                ("frechet", "distance"),
                ("seed_variety", "seed variety"),
            )
            if one.get(name) is not None
        ]
        what = "  ".join(scores) or "training"
        table.add_row(f"trial {one['number']} of {of}", printable(one["values"]), what)
    return table
