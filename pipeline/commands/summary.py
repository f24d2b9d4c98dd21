"""Sum up the last run of the pipeline in numbers: reports/summary.json and a page for people.

Read from the metrics files that dvc.yaml declares and from the records that stages leave in the
runs folder; nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import StorageError
from components.requests.subjects import kind_of, label_names
from pipeline.commands.metric_lines import (
    ALIGNED,
    CLASSED,
    COPIED,
    OUTLINED,
    VARIED,
    distance_of,
    metric_lines,
)
from pipeline.commands.seconds import LastCommand, seconds_table
from pipeline.exit_codes import Parser, guarded
from pipeline.graph import Node, read_graph, stale_stages
from pipeline.places import runs_folder

SUMMARY = "summary.json"
PEAK = "peak_memory.json"
OF_THE_MACHINE = ("seconds", "phases", "seconds_between", "base_images_per_s", "peak_memory_gib")
FROM_ELSEWHERE = "these numbers came with the repository: no stage has run here yet (make demo)"
SHAPES_PROMPT = '"a large red ring on a blue background" '
JUDGED = ("background", "size", "colour", "shape", "all")
CARDS = "metrics.json"  # in evaluate's output folder: what its report leaves out
DRAWN, NOT_DRAWN = 0.8, 0.5  # shares of a kind of image from and below which this is said


@dataclass(frozen=True)
class Sources:
    """Everything a summary or a report is made of.

    Attributes:
        nodes: the stages of dvc.yaml.
        metrics: stage name -> content of its metrics file, for those that exist.
        records: stage name -> what its last run recorded (seconds, command, config).
        peak_memory_gib: of the last whole run, or None.
        last: that run.
        stale: stages whose numbers are of other files than those that lie there now; left out.
    """

    nodes: list[Node]
    metrics: dict[str, dict[str, Any]]
    records: dict[str, dict[str, Any]]
    peak_memory_gib: float | None
    last: LastCommand
    stale: tuple[str, ...] = ()

    @property
    def measured(self) -> list[Node]:
        """The stages whose files are of the data that lies there now."""
        return [node for node in self.nodes if node.name not in self.stale]


def read_sources(params: Path) -> Sources:
    """Collect what the stages left behind."""
    nodes = read_graph(params)
    metrics = {n.name: read_json(n.metrics[0]) for n in nodes if n.metrics}
    records = {n.name: read_json(runs_folder() / "stages" / f"{n.name}.json") for n in nodes}
    noted = read_json(runs_folder() / PEAK)
    stale = stale_stages(nodes)
    return Sources(
        nodes=nodes,
        metrics={name: value for name, value in metrics.items() if value and name not in stale},
        records={name: value for name, value in records.items() if value and name not in stale},
        peak_memory_gib=noted.get("peak_memory_gib"),
        last=LastCommand.of(noted),
        stale=tuple(stale),
    )


def is_from_elsewhere(sources: Sources) -> bool:
    """Whether there are numbers and no stage has run here: they came with the repository."""
    return bool(sources.metrics) and not sources.records


def reports_folder(nodes: list[Node]) -> Path:
    """Return the folder that holds the metrics files."""
    return next(node.metrics[0].parent for node in nodes if node.metrics)


def summarize(sources: Sources) -> dict[str, Any]:
    """Return the summary; a value that no stage has measured is null."""
    records = sources.records
    seconds = {n.name: records[n.name]["seconds"] for n in sources.nodes if n.name in records}
    evaluation = sources.metrics.get("evaluate", {})
    judge = evaluation.get("judge") or {}
    frechet = evaluation.get("frechet_judge") or {}
    other = {} if frechet else distance_of(evaluation)
    truth = evaluation.get("filter_truth") or {}
    outlined = evaluation.get("silhouette") or {}
    filtered = sources.metrics.get("filter", {})
    published = sources.metrics.get("publish", {})
    return {
        "seconds": {**seconds, "total": round(sum(seconds.values()), 3)},
        "phases": {n: records[n]["phases"] for n in seconds if records[n].get("phases")},
        "seconds_between": sources.last.between({n: records[n] for n in seconds}),
        "judge": {name: judge.get(name) for name in JUDGED},
        "frechet_judge": {
            **{side: frechet.get(side) for side in ("before", "after")},
            **({"training": real} if (real := frechet.get("training")) is not None else {}),
        },
        **({"frechet": other} if other else {}),
        **{name: evaluation.get(name) for name in ALIGNED},
        **({"two_objects": bound} if (bound := evaluation.get("two_objects")) else {}),
        "silhouette": {name: outlined.get(name) for name in OUTLINED},
        **{name: evaluation.get(name) for name in (*VARIED, *COPIED, *CLASSED)},
        "base_images_per_s": records.get("train_base", {}).get("facts", {}).get("images_per_s"),
        "filter": {
            "in": filtered.get("in"),
            "kept": filtered.get("kept"),
            "rejected": filtered.get("rejected", {}),
            "swapped_rejected": truth.get("swapped_rejected"),
            "clean_kept": truth.get("clean_kept"),
        },
        "published": published.get("published"),
        "missed": published.get("missed", []),
        "peak_memory_gib": sources.peak_memory_gib,
    }


def write_summary(sources: Sources) -> tuple[dict[str, Any], Path]:
    """Write reports/summary.json in one step; return the summary and the path.

    The file lies in git, so what differs from run to run of the same code is left out of it.
    """
    summary = summarize(sources)
    path = reports_folder(sources.nodes) / SUMMARY
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    lasting = {name: value for name, value in summary.items() if name not in OF_THE_MACHINE}
    temporary.write_text(json.dumps(lasting, indent=2) + "\n")
    os.replace(temporary, path)
    return summary, path


def summary_text(summary: dict[str, Any], sources: Sources, written: Path) -> str:
    """Return the page for people: stages, metrics, where the pictures are, what to type next."""
    records = {n.name: sources.records[n.name] for n in sources.nodes if n.name in sources.records}
    lines = ["", *seconds_table(records, sources.last)]
    lines = [FROM_ELSEWHERE] if is_from_elsewhere(sources) else lines
    if sources.stale:
        lines += ["", f"not run since what they read has changed: {', '.join(sources.stale)}"]
        lines += ["their numbers are of an earlier run and left out (dvc repro, or make demo)"]
    lines += ["", "metrics", *metric_lines(summary), *words_about(summary, sources.measured)]
    sheet = sample_sheet(sources.measured)
    if sheet is not None:
        lines += ["", f"sample sheet   {sheet}"]
    lines += [
        f"summary        {written}",
        "",
        "next",
        *_first(summary, sources.nodes),
        "  ganline report      one HTML page about this run",
        "  make ui             the runs in MLflow",
        "  dvc exp run -S train_base.total_kimg=...   try something else",
    ]
    return "\n".join(lines)


def _first(summary: dict[str, Any], nodes: list[Node]) -> list[str]:
    """Return what to type first: draw with the release, or what to do where there is none."""
    if summary["missed"]:
        return [
            "  train longer, or lower what is missed in publish.thresholds: there is no release yet"
        ]
    return [f"  ganline generate {_example(nodes)}--seed 3 -n 4 --out drawn.png"]


def _example(nodes: list[Node]) -> str:
    """Return what the released model can be asked for; a prompt before there is one."""
    for node in nodes:
        for out in node.outs if node.stage == "publish" else ():
            card = read_json(out / "card.json")
            if card and kind_of(card) == "label":
                return f'--label "{label_names(card)[0]}" '
            if card and kind_of(card) == "none":
                return ""
    prompt = evaluation_details(nodes).get("model", {}).get("prompt")
    return f"{shlex.quote(prompt)} " if prompt else SHAPES_PROMPT


def sample_sheet(nodes: list[Node]) -> Path | None:
    """Return the picture that evaluate drew, when it is there."""
    for node in nodes:
        for out in node.outs if node.stage == "evaluate" else ():
            if (out / "samples.png").is_file():
                return out / "samples.png"
    return None


def evaluation_details(nodes: list[Node]) -> dict[str, Any]:
    """Return what evaluate wrote beside its report: cards, cells and warnings; {} before it ran."""
    folders = [out for node in nodes if node.stage == "evaluate" for out in node.outs]
    return next((found for folder in folders if (found := read_json(folder / CARDS))), {})


def words_about(summary: dict[str, Any], nodes: list[Node]) -> list[str]:
    """Return in words what the model draws, what it does not, what evaluate warns of, and which
    thresholds it misses.

    The shape is told by its outline where there is one, since the judge may be fooled.
    """
    details = evaluation_details(nodes)
    cells = details.get("silhouette_cells") or {}
    told = {name: value for name, value in summary["judge"].items() if name != "all"}
    outlined = summary["silhouette"]["shape"]
    told["shape"] = told["shape"] if outlined is None else outlined
    known = {name: value for name, value in told.items() if value is not None}
    kinds = {
        "gets right": [name for name, share in known.items() if share >= DRAWN],
        "mistakes in": [
            f"{name} ({100 * (1 - share):.0f} % wrong)"
            for name, share in known.items()
            if share < DRAWN
        ],
        "draws": [cell for cell, share in cells.items() if share >= DRAWN],
        "fails at": [cell for cell, share in cells.items() if share < NOT_DRAWN],
    }
    lines = [f"  {word:<14} {', '.join(found)}" for word, found in kinds.items() if found]
    lines += [f"  warning        {warning}" for warning in details.get("warnings", [])]
    if summary["missed"]:
        lines.append("  published      no: the model misses a threshold and is not champion")
    lines += [f"  missed         {line}" for line in summary["missed"]]
    return lines


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; {} when there is none.

    Raises:
        StorageError: the file is not JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        todo = "run the stage that writes it again"
        raise StorageError(f"cannot be read: {error}", str(path), todo) from None
    return content if isinstance(content, dict) else {}


def main(argv: list[str] | None = None) -> int:
    """Run `ganline summary`."""
    parser = Parser(
        prog="ganline summary",
        description=__doc__,
        epilog="examples:\n"
        "  ganline summary\n"
        "  ganline summary --json\n"
        "  ganline summary --params presets/shapes_long.yaml\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the page")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)

    def work() -> None:
        sources = read_sources(options.params)
        summary, path = write_summary(sources)
        print(
            json.dumps(summary, indent=2) if options.json else summary_text(summary, sources, path)
        )

    return guarded(work, options.debug)
