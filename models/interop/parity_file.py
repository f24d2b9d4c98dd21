"""A parity fixture: weights, inputs and the authors' outputs of one module."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ParityFile:
    """Tensors by the names after their group ("param/", "in/", "out/", "spec/"), and the
    constructor's sizes.
    """

    stem: str
    config: dict[str, Any]
    param: dict[str, Tensor]
    input: dict[str, Tensor]
    output: dict[str, Tensor]
    spec: dict[str, Tensor]


@dataclass(frozen=True)
class ParityCheck:
    """How a module's fixtures are recomputed.

    Attributes:
        outputs: returns our outputs under the file's names.
        layer_table: returns our layer table, for modules whose fixtures also hold one.
    """

    outputs: Callable[[ParityFile], dict[str, Tensor]]
    layer_table: Callable[[ParityFile], dict[str, Tensor]] | None = None


def read_parity_file(path: Path) -> ParityFile:
    """Read one `.safetensors` fixture.

    Raises:
        ValueError: the file is no parity fixture.
    """
    groups: dict[str, dict[str, Tensor]] = {"param": {}, "in": {}, "out": {}, "spec": {}}
    with safe_open(str(path), "pt") as file:
        metadata = file.metadata() or {}
        for key in file.keys():  # noqa: SIM118 - safe_open is not a dict
            group, _, name = key.partition("/")
            if group not in groups:
                raise ValueError(f"{path}: tensor {key!r} is in none of the groups {list(groups)}")
            groups[group][name] = file.get_tensor(key)
    if "config" not in metadata:
        raise ValueError(f"{path}: no `config` in the metadata, so this is no parity fixture")
    return ParityFile(
        stem=path.stem,
        config=json.loads(metadata["config"]),
        param=groups["param"],
        input=groups["in"],
        output=groups["out"],
        spec=groups["spec"],
    )
