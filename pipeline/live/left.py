"""How long the stages that are still to come will take: as they took last time, else a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# `make demo` on 2 CPU cores, 2026-11-27 (docs/presets.md): seconds, and kimg where it trains.
SHIPPED: dict[str, tuple[float, float]] = {
    "synthesize": (19.5, 0.0),
    "encoders": (5.2, 0.0),
    "score": (44.8, 0.0),
    "filter": (22.4, 0.0),
    "tune": (45.7, 0.0),
    "train_base": (259.0, 24.0),
    "superres": (54.9, 4.0),
    "text_encoder": (15.0, 0.5),
    "evaluate": (27.1, 0.0),
    "publish": (4.0, 0.0),
}


@dataclass(frozen=True)
class Expected:
    """How long a stage will take.

    Attributes:
        seconds: so long, or None when nothing is known.
        guessed: it never ran here; the seconds are another machine's.
    """

    seconds: float | None
    guessed: bool


def expected(name: str, kimg: float, record: Mapping[str, Any]) -> Expected:
    """Return how long a stage will take.

    Args:
        name: of the stage, as DVC names it.
        kimg: what it will train; 0 when it trains nothing.
        record: what its last run here left in runs/stages, {} without one.
    """
    if seconds := record.get("seconds"):
        before = _kimg_of(record, name)
        return Expected(seconds * (kimg / before if kimg and before else 1.0), guessed=False)
    shipped = SHIPPED.get(name.partition("@")[0])
    if shipped is None:
        return Expected(None, guessed=True)
    return Expected(shipped[0] * (kimg / shipped[1] if kimg and shipped[1] else 1.0), guessed=True)


def all_left(stages: Sequence[Expected], current_s: float) -> str:
    """Say how long everything takes from now on, '' when nothing is known.

    Args:
        stages: those after the current one.
        current_s: what the current one has left.
    """
    known = [stage.seconds for stage in stages if stage.seconds is not None]
    text = duration(sum(known) + current_s)
    if unknown := len(stages) - len(known):
        text += f" and {unknown} stage{'s' if unknown > 1 else ''} of unknown length"
    if any(stage.guessed and stage.seconds is not None for stage in stages):
        return f"{text} at most (a guess: some never ran here)"
    return f"{text} at most"


def _kimg_of(record: Mapping[str, Any], name: str) -> float:
    section = (record.get("config") or {}).get(name) or {}
    kimg = section.get("total_kimg") if isinstance(section, dict) else None
    return float(kimg or 0.0)


def duration(seconds: float) -> str:
    """Return a time in words, as `12 min`."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{max(seconds, 0.0):.0f} s"
