"""What the pages of one run and of two have in common: pictures, first numbers, tables, formats."""

from __future__ import annotations

import base64
import csv
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from components.artifacts.metric_names import METRICS
from components.artifacts.publishing import metric_at
from pipeline.commands.metric_lines import changed, distance_of
from pipeline.commands.summary import (
    FROM_ELSEWHERE,
    Sources,
    evaluation_details,
    is_from_elsewhere,
)
from pipeline.graph import Node

Groups = dict[str, dict[str, list[tuple[float, float]]]]
PAGE_BYTES = 4_500_000  # base64 and all: what does not fit any more is named
# The first of these that were measured are the numbers of the first screen.
HEADLINES = {
    "judge.all": "all attributes right",
    "silhouette.shape": "shape right by outline",
    "seed_variety": "variety of the seeds",
    "memorised": "near copies",
    "clip_score": "CLIP score",
    "recall": "recall",
    "precision": "precision",
}

SHARES = ("judge.all", "silhouette.shape", "memorised", "recall", "precision")


class Pictures:
    """Turns files into data for the page until the page is full."""

    def __init__(self, limit: int = PAGE_BYTES) -> None:
        self._left = limit

    def __call__(self, path: Path, caption: str) -> dict[str, str]:
        """Return the caption and the data; no data when it does not fit."""
        size = -(-path.stat().st_size // 3) * 4
        if size > self._left:
            return {"caption": caption, "data": ""}
        self._left -= size
        text = base64.b64encode(path.read_bytes()).decode("ascii")
        return {"caption": caption, "data": f"data:image/png;base64,{text}"}


def whose(sources: Sources) -> str:
    """Return whose numbers these are, and when they were made."""
    if is_from_elsewhere(sources):
        return FROM_ELSEWHERE[0].upper() + FROM_ELSEWHERE[1:] + "."
    if not sources.records:
        return "No stage has run here yet."
    newest = max(sources.records.values(), key=lambda record: str(record["started_utc"]))
    codes = dict.fromkeys(str(r.get("git_commit") or "none") for r in sources.records.values())
    return f"Last stage started {when(newest)}; code {', '.join(_code(x) for x in sorted(codes))}."


def when(record: Mapping[str, Any]) -> str:
    """Return when a stage began, as people write it: 27 Nov 2026 22:49 UTC."""
    text = str(record["started_utc"])
    try:
        return f"{datetime.fromisoformat(text):%d %b %Y %H:%M} UTC".lstrip("0")
    except ValueError:
        return text


def _code(commit: str) -> str:
    """Return a commit in short, and whether files had changed since: abc1234 with changes."""
    digest, _, changed = commit.partition("-")
    return f"{digest[:7]} with changes" if changed else digest[:7]


def headline(sources: Sources) -> list[dict[str, str]]:
    """Return at most five numbers with their meaning: {"name", "value", "meaning"}."""
    measured = sources.metrics.get("evaluate", {}) | evaluation_details(sources.measured)
    found = []
    distance = distance_of(measured)
    if distance and (words := changed(distance["before"], distance["after"])):
        sides = f"{distance['before']:.4g} -> {distance['after']:.4g}"
        meaning = f"Frechet distance on {distance['net']}, {sides}: lower is better; "
        meaning += "against the untrained network"
        if "training" in distance:
            meaning += f"; as many training images have {distance['training']:.4g}"
        short = words.removesuffix(" than before training")
        found.append({"name": "distance", "value": short, "meaning": meaning})
    for name, title in HEADLINES.items():
        value = metric_at(measured, name)
        if value is not None:
            shown = f"{100 * value:.3g} %" if name in SHARES else f"{value:.3g}"
            found.append({"name": title, "value": shown, "meaning": METRICS[name]})
    return found[:5]


def tables(node: Node) -> Iterator[tuple[str, Groups]]:
    """Yield a stage's tables of (x, series, value): name of the axis, and first word of the series
    -> the rest of its name -> points.
    """
    for path in node.plots:
        if path.suffix != ".csv" or not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.reader(file)
            axis = next(table, [""])[0]
            groups: Groups = {}
            for x, name, value in (row for row in table if len(row) == 3):
                group, _, rest = name.partition("/")
                series = groups.setdefault(group, {}).setdefault(rest or name, [])
                series.append((_number(x), _number(value)))
        yield axis, groups


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, names joined by dots; what is null is left out."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def number(value: Any) -> str:
    """Return a value short enough for a table."""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
