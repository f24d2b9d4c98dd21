"""Write the configuration reference, docs/configuration.md, from the dataclasses.

A field's sentence is the text below it, or its line under `Attributes:` in the class' docstring.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from components.artifacts.metric_names import METRICS
from components.evaluation.config import CocoConfig
from models.families import FAMILIES, part
from pipeline.params.schema import describe, field_types
from pipeline.params.sections import SECTIONS, SEED

HEAD = """# Configuration

Every key of `params.yaml` and of the files in `presets/`. Written by
`python -m pipeline.params --markdown`; a test keeps it up to date.

A key without a default has to be given. An unknown, missing, mistyped or out-of-range key ends
every command with exit code 2 before anything is loaded or written, and all of them are listed at
once. Write small numbers as `1.0e-4`: YAML reads `1e-4` as text.
"""


def markdown() -> str:
    """Return the page."""
    parts = [HEAD, "## seed\n", f"Everything random follows from it: {describe(SEED)}.\n"]
    for name, config in SECTIONS.items():
        title = {"superres": "`superres.<px>`", "adapt": "`adapt.<name>`"}.get(name, name)
        parts.append(f"## {title}\n")
        if name == "superres":
            parts.append("One entry per resolution; the same keys as `train_base`. Its `recipe`")
            parts.append("holds only what differs from the stage before.\n")
            continue
        if name == "text_encoder":
            parts.append("The text encoder's own phase; the same keys as `train_base`. Its")
            parts.append("`recipe` holds `trains: text_encoder` and what else differs from the")
            parts.append(
                "stage that `start` names, whose resolution it keeps. With `total_kimg: 0`,"
            )
            parts.append("or where the model takes no text, the stage passes the artifact on.\n")
            continue
        if name == "adapt":
            parts.append("One entry per model; the same keys as `train_base`, with a `start`. Its")
            parts.append("`recipe` is whole, of a family that adapts others.\n")
            continue
        parts += _section(config, "")
        if name == "publish":
            parts += _metrics()
    parts.append("## coco\n\nThe only section of `presets/benchmarks/coco_zero_shot.yaml`.\n")
    parts += _section(CocoConfig, "")
    for name, family in FAMILIES.items():  # ours alone: the page is about ganline
        recipe = part(family.recipe)
        place = "`adapt.<name>.recipe`" if getattr(recipe, "adapts", False) else "train_base.recipe"
        parts.append(f"## {place} with `name: {name}`\n")
        parts += _section(recipe, "")
    return "\n".join(parts).rstrip() + "\n"


def _metrics() -> list[str]:
    """Return the names that thresholds may use."""
    intro = (
        "Metrics for `publish.thresholds`; what stands in angle brackets is the name of a net, an"
    )
    rows = [f"| `{name}` | {_cell(meaning)} |" for name, meaning in METRICS.items()]
    return [
        intro,
        "attribute or a kind of image. [Measures](measures.md) says how each is measured.\n",
        *("| metric | what |", "|---|---|", *rows, ""),
    ]


def field_docs(config: type) -> dict[str, str]:
    """Return field -> its sentence, those of inherited fields included."""
    docs: dict[str, str] = {}
    for kind in reversed([k for k in config.__mro__ if dataclasses.is_dataclass(k)]):
        docs |= dict(_listed_attributes(inspect.getdoc(kind) or ""))
        docs |= dict(_texts_below(kind))
    return docs


def _section(config: type, prefix: str) -> list[str]:
    lines = [f"{_summary(config)}\n", "| key | allowed | default | what |", "|---|---|---|---|"]
    rows = list(_rows(config, prefix))
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _rows(config: type, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    docs, kinds = field_docs(config), field_types(config)
    for field in dataclasses.fields(config):
        key, kind = f"{prefix}{field.name}", kinds[field.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield (f"**{key}**", "", "", _cell(docs.get(field.name) or _summary(kind)))
            yield from _rows(kind, f"{key}.")
            continue
        default = _default(field)
        yield (f"`{key}`", _cell(describe(kind)), default, _cell(docs.get(field.name, "")))
        inner = get_args(kind)[1] if get_origin(kind) is dict else None
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            yield from _rows(inner, f"{key}.<name>.")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{value!r}`".replace("True", "true").replace("False", "false")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _summary(config: type) -> str:
    return " ".join((inspect.getdoc(config) or "").split("\n\n")[0].split())


def _listed_attributes(doc: str) -> Iterator[tuple[str, str]]:
    """Yield what stands under `Attributes:`; one line may name several fields."""
    _, _, listed = doc.partition("Attributes:\n")
    for entry in re.split(r"\n(?=    \w)", "\n" + textwrap.dedent(listed).replace("\n", "\n    ")):
        names, colon, text = entry.strip().partition(":")
        if colon and re.fullmatch(r"\w+(, \w+)*", names):
            for name in names.split(", "):
                yield name, " ".join(text.split())


def _texts_below(config: type) -> Iterator[tuple[str, str]]:
    """Yield the string that follows a field in the source, which Python itself throws away."""
    source = Path(sys.modules[config.__module__].__file__ or "").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef) or node.name != config.__name__:
            continue
        for field, below in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                value = below.value if isinstance(below, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield field.target.id, " ".join(value.value.split())
