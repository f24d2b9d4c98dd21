"""`ganline report`: write one HTML page about the last run, readable without a server.

First what the run is, a verdict in words, the sample sheet and five numbers; then, stage by stage
in the order in which they ran: charts, pictures, numbers, parameters and the exact command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.errors import ConfigError
from pipeline.commands.report_charts import bars, curves
from pipeline.commands.report_page import render_page, write_page
from pipeline.commands.report_parts import Pictures, flatten, headline, number, tables, when, whose
from pipeline.commands.report_preset import differing
from pipeline.commands.report_two import PAGE as TWO
from pipeline.commands.report_two import write_two
from pipeline.commands.summary import (
    CARDS,
    Sources,
    evaluation_details,
    read_json,
    read_sources,
    reports_folder,
    sample_sheet,
    summarize,
    words_about,
)
from pipeline.exit_codes import Parser, guarded
from pipeline.graph import Node

PAGE = "report.html"
MOST_PICTURES, MOST_STEPS = 12, 12


def write_report(sources: Sources) -> Path:
    """Write the page beside the metrics files in one step; return its path."""
    path = reports_folder(sources.nodes) / PAGE
    write_page(path, render(sources))
    return path


def render(sources: Sources) -> str:
    """Return the page."""
    pictures, sheet = Pictures(), sample_sheet(sources.measured)
    first = pictures(sheet, "Prompts in rows, seeds in columns") if sheet else None
    summary = summarize(sources)
    sections = [_stage(node, sources, pictures, sheet) for node in sources.nodes]
    content = {
        "title": _title(sources),
        "whose": whose(sources),
        "verdict": _verdict(summary, sources),
        "numbers": headline(sources),
        "sheet": first,
        "sections": [
            *(section for section in sections if section["filled"]),
            *_settings(sources),
            _commands(sources),
        ],
    }
    return render_page(content)


def _title(sources: Sources) -> str:
    model = evaluation_details(sources.measured).get("model") or {}
    if not model:
        return "ganline: the last run"
    return f"ganline: {model.get('family')} at {model.get('resolution_px')} px"


def _verdict(summary: dict[str, Any], sources: Sources) -> list[str]:
    """Return what the model can and cannot do, in sentences."""
    # Each line is a label in a column of 15, then what it says.
    lines = [line.strip() for line in words_about(summary, sources.measured)]
    pairs = [(line[:15].strip(), line[15:].strip()) for line in lines]
    said = [f"{label[0].upper()}{label[1:]}: {text}." for label, text in pairs]
    if summary["published"]:
        said.insert(0, _published(sources.metrics.get("publish", {})))
    return said or ["Nothing was measured yet."]


def _published(report: Mapping[str, Any]) -> str:
    """Return what publishing made of the model: champion or candidate, and why."""
    unset = report.get("thresholds") == {}
    reasons = ["no thresholds are set" if unset else "every threshold is met"]
    aliases = (report.get("registered") or {}).get("aliases", [])
    if why := report.get("no_champion"):
        reasons.insert(0, why)
    # Reports of older runs say by the aliases alone that it is no champion.
    if why or (aliases and "champion" not in aliases):
        return f"Published as a candidate, not champion: {'; '.join(reasons)}."
    return f"Published: {reasons[0]}."


def _stage(node: Node, sources: Sources, pictures: Pictures, sheet: Path | None) -> dict[str, Any]:
    metrics, record = sources.metrics.get(node.name, {}), sources.records.get(node.name, {})
    told = _details(node)
    shown = flatten({k: v for k, v in metrics.items() if k not in ("rejected", "missed")})
    drawn = any((out / "reasons.png").is_file() for out in node.outs)  # by the stage itself
    rejected = {} if drawn else metrics.get("rejected") or {}
    charts = [bars(rejected, "Samples rejected, by reason", "samples")]
    if cells := told.get("silhouette_cells"):
        shares = {cell: round(100 * share) for cell, share in cells.items()}
        charts.append(bars(shares, "Outlines that are the caption's shape", "% of images"))
    charts += _curves(node)
    section: dict[str, Any] = {
        "name": node.name,
        "desc": node.desc,
        "notes": _notes(metrics, record, told),
        "charts": [chart for chart in charts if chart],
        **_pictures(node, pictures, sheet),
        "table": {name: number(value) for name, value in shown.items()},
        "open": len(shown) <= 12,
        "folds": _folds(record, told),
    }
    section["filled"] = any(section[k] for k in ("charts", "pictures", "steps", "table", "folds"))
    return section


def _details(node: Node) -> dict[str, Any]:
    found = [read_json(out / CARDS) for out in node.outs if out.is_dir()]
    return next((content for content in found if content.get("cards")), {})


def _notes(
    metrics: Mapping[str, Any], record: Mapping[str, Any], told: Mapping[str, Any]
) -> list[str]:
    notes = []
    if record:
        notes.append(f"Started {when(record)}, took {record['seconds']:.1f} s.")
    speed = {name: number(value) for name, value in (record.get("facts") or {}).items()}
    if speed:
        notes.append("On this machine: " + ", ".join(f"{k} {v}" for k, v in speed.items()) + ".")
    notes += [f"Not published: {line}." for line in metrics.get("missed") or []]
    notes += [f"Warning: {text}." for text in told.get("warnings", [])]
    unmeasured = told.get("not_measured", {}).items()
    return notes + [f"{name} was not measured: {why}." for name, why in unmeasured]


def _folds(record: Mapping[str, Any], told: Mapping[str, Any]) -> list[dict[str, str]]:
    folds = []
    if told:
        text = yaml.safe_dump(told["cards"], sort_keys=False)
        folds.append({"title": "how each number was measured", "text": text})
    if record.get("config"):
        text = yaml.safe_dump(record["config"], sort_keys=False)
        folds.append({"title": "parameters", "text": text})
    return folds


def _settings(sources: Sources) -> list[dict[str, Any]]:
    """Return the settings that differ from those of the nearest preset; nothing before a run."""
    preset, table = differing(sources.records)
    if not preset:
        return []
    desc = f"What differs from presets/{preset}, the nearest preset."
    if not table:
        desc = f"All settings are those of presets/{preset}."
    empty: dict[str, Any] = {"notes": [], "charts": [], "pictures": [], "steps": [], "folds": []}
    return [{"name": "settings", "desc": desc, **empty, "table": table, "open": len(table) <= 30}]


def _commands(sources: Sources) -> dict[str, Any]:
    commands = [
        f"# {name}\n{record['command']}"
        for name, record in sources.records.items()
        if record.get("command")
    ]
    whole = {"title": "the whole graph", "text": "ganline repro"}
    stages = {"title": "its stages, as they ran", "text": "\n\n".join(commands)}
    empty: dict[str, Any] = {"notes": [], "charts": [], "pictures": [], "steps": [], "table": {}}
    desc = "What to type to run it again."
    return {"name": "commands", "desc": desc, **empty, "open": False, "folds": [whole, stages]}


def _curves(node: Node) -> list[str]:
    """Draw the stage's tables: a chart for each first word of the series."""
    return [
        curves(series, axis, f"{node.name}: {group.replace('_', ' ')}")
        for axis, groups in tables(node)
        for group, series in groups.items()
    ]


def _pictures(node: Node, pictures: Pictures, sheet: Path | None) -> dict[str, Any]:
    """Return the stage's pictures, and those of its steps; the first screen's sheet is left out."""
    found: list[dict[str, str]] = []
    steps: list[dict[str, str]] = []
    for out in (*node.outs, *node.plots):
        files = [out] if out.suffix == ".png" and out.is_file() else sorted(out.glob("*.png"))
        shown = [path for path in files if path != sheet][:MOST_PICTURES]
        found += [pictures(path, f"{node.name}: {path.stem}") for path in shown]
        drawn = sorted((out / "samples").glob("*.png"))
        chosen = drawn[:: max(1, -(-len(drawn) // MOST_STEPS))]
        if drawn and chosen[-1] != drawn[-1]:
            chosen.append(drawn[-1])
        steps += [pictures(path, f"{node.name}: {path.stem}") for path in chosen]
    return {"pictures": found, "steps": steps}


def main(argv: list[str] | None = None) -> int:
    """Run `ganline report`."""
    parser = Parser(
        prog="ganline report",
        description=__doc__,
        epilog="examples:\n"
        "  ganline report\n"
        "  ganline report . ../other_clone       # two runs side by side\n"
        "  ganline report --params presets/shapes_long.yaml\n"
        "  GANLINE_RUNS_DIR=../runs ganline report\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="two project folders to compare"
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)

    def work() -> None:
        if len(options.runs) not in (0, 2):
            todo = "name two folders, or none for the run of this one"
            raise ConfigError(f"{len(options.runs)} run", "RUN", todo)
        if options.runs:
            path = write_two(tuple(options.runs), options.params, Path("reports") / TWO)
        else:
            path = write_report(read_sources(options.params))
        print(f"{path}: open it in a browser (file://{path.absolute()})")

    return guarded(work, options.debug)


if __name__ == "__main__":
    sys.exit(main())
