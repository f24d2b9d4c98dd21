"""Artifacts of every family that cannot be used: sampling says so in one line, exit 5, and writes
nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from components.artifacts.artifact import CARD, GENERATOR
from components.durable_files import file_hash
from models.families import recipes, small_fields
from pipeline.commands.generate import main as generate
from tests.pipeline.tiny_world import SIDE
from tests.pipeline.trained_world import textless_release

Card, Tensors = dict[str, Any], dict[str, Any]


@pytest.fixture(scope="module", params=recipes())
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    recipe = recipes()[name](**small_fields(name))  # type: ignore[abstract]
    return textless_release(tmp_path_factory.mktemp(name) / "release", ["cat", "dog"], recipe)


def _spoil(tensors: Tensors) -> None:
    next(t for t in tensors.values() if t.is_floating_point()).fill_(float("nan"))


FAULTS: dict[str, tuple[Callable[[Card, Tensors], object], str]] = {
    "unknown field": (
        lambda card, _: card["recipe"]["fields"].update(depth=3),
        "has no field depth",
    ),
    "another resolution": (lambda card, _: card.update(resolution_px=2 * SIDE), ""),
    "impossible resolution": (lambda card, _: card.update(resolution_px=24), "describes no net"),
    "other classes": (
        lambda card, _: [card["shape"].update(num_labels=5), card["label_names"].extend("xyz")],
        "do not fit the network",
    ),
    "other names": (lambda card, _: card["shape"].update(num_labels=5), "2 names for 5 classes"),
    "missing tensor": (lambda _, tensors: tensors.pop(sorted(tensors)[0]), "missing: "),
    "NaN": (lambda _, tensors: _spoil(tensors), "NaN or infinity in "),
}


@pytest.mark.row("D5")
@pytest.mark.parametrize("fault", FAULTS)
def test_sampling_refuses_it(release: Path, tmp_path: Path, capsys, fault: str) -> None:
    change, says = FAULTS[fault]
    folder, out = tmp_path / "release", tmp_path / "out" / "x.png"
    shutil.copytree(release, folder)
    words = ["--label", "cat", "--model", str(folder), "--out", str(out)]
    assert generate(words) == 0
    shutil.rmtree(out.parent)
    capsys.readouterr()
    card, tensors = json.loads((folder / CARD).read_text()), load_file(folder / GENERATOR)
    change(card, tensors)
    save_file(tensors, folder / GENERATOR)
    card["files"][GENERATOR] = file_hash(folder / GENERATOR)
    (folder / CARD).write_text(json.dumps(card))
    assert generate(words) == 5
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ") and says in line
    assert not out.parent.exists()
