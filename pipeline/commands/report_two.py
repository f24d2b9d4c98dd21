"""Two runs on one page, side by side: sheets, numbers, curves in one chart, settings that differ.

A run is a project's folder in which it was made: another clone, or the copy of an experiment.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import ConfigError
from pipeline.commands.report_charts import curves
from pipeline.commands.report_page import render_page, write_page
from pipeline.commands.report_parts import Pictures, flatten, headline, number, tables, whose
from pipeline.commands.summary import Sources, read_sources, sample_sheet

PAGE = "report_two.html"
MISSING = "-"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One of the two, as the page needs it; paths are read already.

    Attributes:
        name: A or B, and the folder.
        whose, headline, numbers: of the first screen, and every number of every stage.
        sheet: its sample sheet as the page shows it; None without one.
        curves: "stage: group" -> axis, series -> points.
        settings: dotted name -> value.
    """

    name: str
    whose: str
    headline: dict[str, str]
    numbers: dict[str, Any]
    sheet: dict[str, str] | None
    curves: dict[str, tuple[str, dict[str, list[tuple[float, float]]]]]
    settings: dict[str, Any]


def write_two(folders: tuple[Path, Path], params: Path, out: Path) -> Path:
    """Write the page of two runs in one step; return its path.

    Raises:
        ConfigError: a folder is no project, or both are the same.
    """
    if folders[0].resolve() == folders[1].resolve():
        todo = "name two folders; for one run: ganline report"
        raise ConfigError("both are the same run", str(folders[0]), todo)
    pictures = Pictures()
    one, two = (
        _read(letter, folder, params, pictures)
        for letter, folder in zip("AB", folders, strict=True)
    )
    write_page(out, render_page(_content(one, two)))
    return out


def _read(letter: str, folder: Path, params: Path, pictures: Pictures) -> Run:
    if not (folder / "dvc.yaml").is_file():
        todo = "name the folder of a clone or of an experiment's copy"
        raise ConfigError("no dvc.yaml there", str(folder), todo)
    with _inside(folder):
        sources = read_sources(params)
        sheet = sample_sheet(sources.measured)
        stages = {name: dict(values) for name, values in sources.metrics.items()}
        drawn = {
            f"{node.name}: {group}": (axis, series)
            for node in sources.nodes
            for axis, groups in tables(node)
            for group, series in groups.items()
        }
        return Run(
            name=f"{letter}: {folder}",
            whose=whose(sources),
            headline={one["name"]: one["value"] for one in headline(sources)},
            numbers=flatten(stages),
            sheet=pictures(sheet, f"{letter}: prompts in rows, seeds in columns")
            if sheet
            else None,
            curves=drawn,
            settings=_settings(sources, params),
        )


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Read with the paths of another project, its own runs included."""
    before = os.environ.get("GANLINE_RUNS_DIR")
    with contextlib.chdir(folder):
        if Path("runs").is_dir():
            os.environ["GANLINE_RUNS_DIR"] = str(Path("runs").absolute())
        try:
            yield
        finally:
            os.environ.pop("GANLINE_RUNS_DIR", None)
            if before is not None:
                os.environ["GANLINE_RUNS_DIR"] = before


def _settings(sources: Sources, params: Path) -> dict[str, Any]:
    """Return the parameters that the stages ran with, else those of the file."""
    ran: dict[str, Any] = {}
    for record in sources.records.values():
        ran |= flatten(record.get("config") or {})
    if ran:
        return ran
    with contextlib.suppress(OSError, yaml.YAMLError):
        return flatten(yaml.safe_load(params.read_text(encoding="utf-8")) or {})
    return {}


def _content(one: Run, two: Run) -> dict[str, Any]:
    sheets = [run.sheet for run in (one, two) if run.sheet]
    charts = [_chart(name, one, two) for name in {**one.curves, **two.curves}]
    samples = _section("samples", "The last sample sheet of each.", pictures=sheets)
    parts = [
        samples,
        _section("settings that differ", "", rows=_differing(one.settings, two.settings)),
        _section("curves", "A is drawn through, B is dashed.", charts=[c for c in charts if c]),
        _section("numbers", "", rows=_rows(one.numbers, two.numbers)),
    ]
    return {
        "title": "ganline: two runs",
        "whose": "",
        "verdict": [f"{run.name}. {run.whose}" for run in (one, two)],
        "numbers": [
            {
                "name": name,
                "value": f"{one.headline.get(name, MISSING)} | {two.headline.get(name, MISSING)}",
                "meaning": "A | B",
            }
            for name in {**one.headline, **two.headline}
        ],
        "sheet": None,
        "sections": [part for part in parts if part["pictures"] or part["charts"] or part["rows"]],
    }


def _section(name: str, desc: str, **filled: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"notes": [], "charts": [], "pictures": [], "steps": [], "table": {}}
    return {"name": name, "desc": desc, **empty, "rows": [], "open": True, "folds": [], **filled}


def _chart(name: str, one: Run, two: Run) -> str:
    both: dict[str, list[tuple[float, float]]] = {}
    axis = ""
    for letter, run in (("A", one), ("B", two)):
        axis, series = run.curves.get(name, (axis, {}))
        both |= {f"{letter} {part}": points for part, points in series.items()}
    return curves(both, axis, name.replace("_", " "), dashed="B ")


def _differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[list[str]]:
    return [row for row in _rows(one, two) if row[1] != row[2]]


def _rows(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[list[str]]:
    """Return name, value of A, value of B, and how much more B is where both are numbers."""
    rows = []
    for name in sorted({*one, *two}):
        a, b = one.get(name), two.get(name)
        more = ""
        if all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b)):
            change = float(b) - float(a)  # type: ignore[arg-type]
            more = f"{change:+,.4g}" if change else "0"
        shown = [MISSING if x is None else number(x) for x in (a, b)]
        rows.append([name, *shown, more])
    return rows
