"""`ganline report`: write one HTML page about the last run, readable without a server.

Per stage of dvc.yaml: what was asked, what came out, curves, pictures, the exact command.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from pipeline.commands import report_html as html
from pipeline.commands.summary import (
    CARDS,
    Sources,
    read_json,
    read_sources,
    reports_folder,
    summarize,
)
from pipeline.exit_codes import guarded
from pipeline.graph import Node

PAGE = "report.html"
MOST_PICTURES, MOST_STEPS = 12, 24
MOST_BYTES = 8 * 2**20  # a larger picture is named, not shown


def write_report(sources: Sources) -> Path:
    """Write the page beside the metrics files in one step; return its path."""
    path = reports_folder(sources.nodes) / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(render(sources), encoding="utf-8")
    os.replace(temporary, path)
    return path


def render(sources: Sources) -> str:
    """Return the page."""
    sections = [html.heading("Summary"), html.table(_without_nothing(summarize(sources)))]
    for node in reversed(sources.nodes):  # what a reader looks for is made last
        sections += _stage(node, sources)
    commands = [
        f"# {name}\n{record['command']}"
        for name, record in sources.records.items()
        if record.get("command")
    ]
    commits = sorted({record.get("git_commit") or "none" for record in sources.records.values()})
    sections += [
        html.heading("Commands"),
        html.paragraph(f"Code: {', '.join(commits) or 'no stage has run'}. The whole graph:"),
        html.preformatted("dvc repro"),
        html.paragraph("Its stages, as they ran:"),
        html.preformatted("\n\n".join(commands)),
    ]
    return html.page("ganline: the last run", sections)


def _stage(node: Node, sources: Sources) -> list[str]:
    metrics, record = sources.metrics.get(node.name), sources.records.get(node.name, {})
    sections = [html.heading(node.name)]
    if node.desc:
        sections.append(html.paragraph(node.desc))
    if record:
        started, seconds = record["started_utc"], record["seconds"]
        sections.append(html.paragraph(f"Started {started}, took {seconds:.1f} s."))
    if metrics:
        found = [read_json(out / CARDS) for out in node.outs if out.is_dir()]
        told: dict[str, Any] = next((content for content in found if content.get("cards")), {})
        shown = dict(metrics)
        if isinstance(rejected := shown.pop("rejected", None), dict):
            sections.append(html.bars(rejected, "samples rejected, by reason"))
        missed = shown.pop("missed", [])
        sections += [html.paragraph(f"Not published: {line}.") for line in missed]
        sections.append(html.table(shown))
        sections += [html.paragraph(f"Warning: {text}.") for text in told.get("warnings", [])]
        if cells := told.get("silhouette_cells"):
            shares = {cell: round(100 * share) for cell, share in cells.items()}
            sections.append(html.bars(shares, "% of images whose outline is the caption's shape"))
        if told:
            text = yaml.safe_dump(told["cards"], sort_keys=False)
            sections.append(html.preformatted(text, "how each metric was measured"))
        for name, why in told.get("not_measured", {}).items():
            sections.append(html.paragraph(f"{name} was not measured: {why}."))
    sections += _curves(node) + _pictures(node)
    if record.get("config"):
        text = yaml.safe_dump(record["config"], sort_keys=False)
        sections.append(html.preformatted(text, "parameters"))
    return sections if len(sections) > 2 else []


def _curves(node: Node) -> list[str]:
    """Draw every series of the stage's tables of (x, series, value)."""
    charts = []
    for path in node.plots:
        if path.suffix != ".csv" or not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.reader(file)
            axis = next(table, [""])[0]
            series: dict[str, list[tuple[float, float]]] = {}
            for x, name, value in (row for row in table if len(row) == 3):
                series.setdefault(name, []).append((_number(x), _number(value)))
        for name, points in series.items():
            xs, ys = zip(*points, strict=True)
            charts.append(html.curve(list(xs), list(ys), f"{name} against {axis}"))
    return ['<div class="row">', *charts, "</div>"] if any(charts) else []


def _pictures(node: Node) -> list[str]:
    sections = []
    for out in (*node.outs, *node.plots):
        files = [out] if out.suffix == ".png" and out.is_file() else sorted(out.glob("*.png"))
        for path in files[:MOST_PICTURES]:
            if path.stat().st_size <= MOST_BYTES:
                sections.append(html.picture(path, f"{node.name}: {path.name}"))
            else:
                sections.append(html.paragraph(f"{path} is too large to be shown here"))
        steps = sorted((out / "samples").glob("*.png"))
        if steps:
            chosen = steps[:: max(1, -(-len(steps) // MOST_STEPS))]
            if chosen[-1] != steps[-1]:
                chosen.append(steps[-1])
            sections.append(html.slider([(f"{node.name}: {p.stem}", p) for p in chosen]))
    return sections


def _without_nothing(values: dict[str, Any]) -> dict[str, Any]:
    flat = html.flatten(values)
    return {name: value for name, value in flat.items() if value is not None}


def _number(text: str | None) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        return float("nan")


def main(argv: list[str] | None = None) -> int:
    """Run `ganline report`."""
    parser = argparse.ArgumentParser(prog="ganline report", description=__doc__)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)

    def work() -> None:
        path = write_report(read_sources(options.params))
        print(f"{path}: open it in a browser (file://{path.absolute()})")

    return guarded(work, options.debug)


if __name__ == "__main__":
    sys.exit(main())
