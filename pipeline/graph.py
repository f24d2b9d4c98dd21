"""Read dvc.yaml, the table of contents: every stage's command and files, with templates filled in.

Only what dvc.yaml uses here is understood: `${section.key}` from params.yaml, and `foreach` over a
mapping with `${key}` and `${item.field}`. DVC itself stays out of the process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import ConfigError
from pipeline.params.file import read_params_file
from pipeline.params.yaml_text import read_yaml

GRAPH = "dvc.yaml"
LOCK = "dvc.lock"


@dataclass(frozen=True)
class Node:
    """One stage as it would run now.

    Attributes:
        name: as DVC names it (`score`, `superres@64`).
        stage: the name without the key of `foreach`.
        key: the key of `foreach`, or "".
        desc: what it does, in a line.
        command: the command line.
        deps, outs, plots: its files.
        metrics: its JSON files of numbers: reports first, then what DVC shows as metrics.
    """

    name: str
    stage: str
    key: str
    desc: str
    command: str
    deps: tuple[Path, ...]
    outs: tuple[Path, ...]
    metrics: tuple[Path, ...]
    plots: tuple[Path, ...]


def read_graph(params: Path, graph: Path | None = None) -> list[Node]:
    """Return all stages in the order of the file.

    Raises:
        ConfigError: when there is no dvc.yaml here, or a template names nothing in the params.
    """
    graph = graph or Path(GRAPH)
    if not graph.is_file():
        raise ConfigError(f"no {GRAPH} here", str(Path.cwd()), "run it in the project's folder")
    values = read_params_file(params).values
    stages = _stages(graph)
    nodes = []
    for stage, entry in stages.items():
        if "foreach" not in entry:
            nodes.append(_node(stage, "", entry, values))
            continue
        entries = _fill(entry["foreach"], values)
        for key, item in entries.items() if isinstance(entries, dict) else ():
            nodes.append(_node(stage, str(key), entry["do"], {**values, "key": key, "item": item}))
    return nodes


def needed_for(nodes: list[Node], targets: list[str]) -> list[Node]:
    """Return the targets and every stage whose files they are made from, in the order of the file.

    Args:
        nodes: of the graph.
        targets: names as a person gives them to DVC, `superres` for all of its entries; those that
            name no stage count for nothing.
    """
    wanted = {node.name for node in nodes if {node.name, node.stage} & set(targets)}
    while True:
        read = {path for node in nodes if node.name in wanted for path in node.deps}
        makers = {
            node.name
            for node in nodes
            for out in (*node.outs, *node.metrics)
            if any(out == path or out in path.parents or path in out.parents for path in read)
        }
        if makers <= wanted:
            return [node for node in nodes if node.name in wanted]
        wanted |= makers


def stale_stages(nodes: list[Node], lock: Path | None = None) -> list[str]:
    """Return the stages whose last run read other files than those that lie there now.

    DVC's lock says what each stage read and wrote when it last came to its end. A stage is stale
    when another one has written a file anew since, or when it reads a file of a stale one.
    """
    lock = lock or Path(LOCK)
    entries = _stages(lock) if lock.is_file() else {}
    written = {
        out["path"]: out.get("md5") for entry in entries.values() for out in entry.get("outs", [])
    }
    moved = {
        name
        for name, entry in entries.items()
        for read in entry.get("deps", [])
        if read["path"] in written and read.get("md5") != written[read["path"]]
    }
    return [
        node.name
        for node in nodes
        if node.name in entries and any(one.name in moved for one in needed_for(nodes, [node.name]))
    ]


def stage_titles(graph: Path | None = None) -> dict[str, str]:
    """Return stage -> description without reading params; {} where there is no dvc.yaml."""
    graph = graph or Path(GRAPH)
    if not graph.is_file():
        return {}
    stages = _stages(graph)
    return {name: entry.get("do", entry).get("desc", "") for name, entry in stages.items()}


def keyed_stages(graph: Path | None = None) -> set[str]:
    """Return the stages that have an entry for each key of their section."""
    graph = graph or Path(GRAPH)
    return {name for name, entry in _stages(graph).items() if "foreach" in entry}


def find_node(nodes: list[Node], stage: str, key: str) -> Node:
    """Return the stage that a command line names.

    Raises:
        ConfigError: when a stage of `foreach` has no such key.
    """
    found = [node for node in nodes if node.stage == stage]
    for node in found:
        if node.key == key:
            return node
    keys = ", ".join(node.key for node in found) or "none"
    raise ConfigError(f"got {key!r}", f"{stage} <key>", f"params has these entries: {keys}")


def _stages(graph: Path) -> dict[str, Any]:
    try:
        stages = read_yaml(graph.read_text(encoding="utf-8"))["stages"]
        assert isinstance(stages, dict)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        what = " ".join(str(error).split())[:160]
        raise ConfigError(f"no readable stages: {what}", str(graph), "correct the file") from None
    return stages


def _node(stage: str, key: str, entry: dict[str, Any], values: dict[str, Any]) -> Node:
    def files(kind: str) -> tuple[Path, ...]:
        names = [next(iter(x)) if isinstance(x, dict) else x for x in entry.get(kind, [])]
        return tuple(Path(str(_fill(name, values))) for name in names)

    outs = files("outs")
    # Git keeps a report, DVC's cache what stages read of each other.
    in_git = [
        isinstance(x, dict) and not x[next(iter(x))].get("cache", True)
        for x in entry.get("outs", [])
    ]
    kept = zip(outs, in_git, strict=True)
    reports = tuple(path for path, kept_by_git in kept if kept_by_git and path.suffix == ".json")
    return Node(
        name=f"{stage}@{key}" if key else stage,
        stage=stage,
        key=key,
        desc=str(_fill(entry.get("desc", ""), values)),
        command=" ".join(str(_fill(entry["cmd"], values)).split()),
        deps=files("deps"),
        outs=tuple(path for path in outs if path not in reports),
        metrics=reports + files("metrics"),
        plots=files("plots"),
    )


def _fill(text: Any, values: dict[str, Any]) -> Any:
    """Replace every `${a.b}`; a text that is one template alone becomes the value itself."""
    if not isinstance(text, str):
        return text
    alone = re.fullmatch(r"\$\{([^}]+)\}", text)
    if alone:
        return _lookup(alone[1], values)
    return re.sub(r"\$\{([^}]+)\}", lambda match: str(_lookup(match[1], values)), text)


def _lookup(dotted: str, values: dict[str, Any]) -> Any:
    value: Any = values
    for part in dotted.strip().split("."):
        if not isinstance(value, dict) or part not in value:
            raise ConfigError(
                f"${{{dotted}}} is not in the parameters", GRAPH, "add the key to params.yaml"
            )
        value = value[part]
    return value
