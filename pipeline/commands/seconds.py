"""The table of seconds in the summary: what each stage took, for what, and what lay between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAME, _CELL = 16, 13


@dataclass(frozen=True, kw_only=True)
class LastCommand:
    """The last `make demo` that ran anything.

    Attributes:
        stages: what it ran; all others were up to date.
        started_utc: when, as in the records of stages.
        seconds: from the start of DVC to its end.
    """

    stages: tuple[str, ...] = ()
    started_utc: str = ""
    seconds: float | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> LastCommand:
        """Return what `make demo` has noted; an older note says less."""
        seconds = content.get("seconds")
        stages = tuple(content.get("stages", ()))
        return cls(stages=stages, started_utc=content.get("started_utc", ""), seconds=seconds)

    def is_older(self, record: Mapping[str, Any]) -> bool:
        """Return whether this command took a stage's outputs from an earlier run of it."""
        return bool(self.started_utc) and record["started_utc"] < self.started_utc

    def between(self, records: Mapping[str, Mapping[str, Any]]) -> float | None:
        """Return the seconds in which no stage ran; None when stages ran after this command."""
        newer = {name for name, record in records.items() if not self.is_older(record)}
        if self.seconds is None or newer != set(self.stages):
            return None
        return round(self.seconds - sum(records[name]["seconds"] for name in self.stages), 3)


def seconds_table(records: Mapping[str, Mapping[str, Any]], last: LastCommand) -> list[str]:
    """Return the lines of the table: a row per stage, what lay between them, and the sum.

    Args:
        records: stage -> record of its last run, in the order of the graph.
        last: the last command; stages that it did not run are marked as cached.
    """
    named = next((list(r["phases"]) for r in records.values() if r.get("phases")), [])
    head = "".join(f"{name:>{_CELL}}" for name in ("total", *named))
    lines = [f"{'stages':<{_NAME}}{head}"]
    for name, record in records.items():
        spent = (record.get("phases") or {}).values()
        cells = [duration(seconds) for seconds in (record["seconds"], *spent)]
        row = "".join(f"{cell:>{_CELL}}" for cell in cells)
        mark = f"  cached, of {record['started_utc'][:16]}" if last.is_older(record) else ""
        lines.append(f"  {name:<{_NAME - 2}}{row}{mark}")
    between = last.between(records)
    total = sum(record["seconds"] for record in records.values())
    if between is None:
        return [*lines, f"  {'total':<{_NAME - 2}}{duration(total):>{_CELL}}"]
    lines.append(f"  {'between (DVC)':<{_NAME - 2}}{duration(between):>{_CELL}}")
    assert last.seconds is not None, "without it there is no time between"
    lines.append(f"  {'this run':<{_NAME - 2}}{duration(last.seconds):>{_CELL}}")
    return lines


def duration(seconds: float) -> str:
    """Return seconds as people say them: `12.5 s`, `6 min 21 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
