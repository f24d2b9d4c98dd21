"""`ganline export`: the files draw what the model draws, with ONNX Runtime alone."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.artifacts.portable import INDEX, MOST
from components.artifacts.release import load_release
from components.durable_files import file_hash
from models.families import recipes, small_fields
from pipeline.commands.export import main as export
from tests.pipeline.trained_world import textless_release

BUNDLED = Path(__file__).parents[3] / "bundled" / "release"
# Family and fields of the generators that have to be exported; the others may be refused.
HOLD: dict[str, tuple[str, dict[str, Any]]] = {
    "stylegan_t": ("stylegan_t", {}),
    "fastgan": ("projected_gan", {}),
    "stylegan2": ("projected_gan", {"generator_network": "stylegan2"}),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "exported"
    words = ["--onnx", "--torch", "--model", str(BUNDLED), "--out", str(folder)]
    assert export(words) == 0
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.row("D7")
def test_the_page_draws_the_bundled_release_on_onnx_runtime(exported: Path, monkeypatch) -> None:
    """The code of docs/sampling.md, as written, draws what the model draws."""
    page = (BUNDLED.parents[1] / "docs" / "sampling.md").read_text()
    (code,) = [b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "onnx" in b]
    monkeypatch.chdir(exported.parent)
    names: dict[str, Any] = {}
    exec(code, names)
    model, _ = load_release(BUNDLED)
    with torch.inference_mode():
        condition = model.condition(names["prompts"])
        ws_NLD = model.generator.map(torch.from_numpy(names["z"]), condition, 0.8)
        wanted = model.generator.synthesize(ws_NLD, condition).numpy()
    assert wanted.std() > 0.1  # pictures, not one colour
    assert np.abs(names["image"] - wanted).max() <= MOST


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.row("D7")
def test_the_files_are_named_hashed_and_close_and_tell_nothing_of_this_machine(
    exported: Path,
) -> None:
    index = json.loads((exported / INDEX).read_text())
    names = {"generator.onnx", "text_encoder.onnx", "generator.pt2", "text_encoder.pt2"}
    assert {p.name for p in exported.iterdir()} == names | {INDEX}
    assert index["files"] == {name: file_hash(exported / name) for name in sorted(names)}
    for network in index["networks"].values():
        assert set(network["largest_difference"]) == {"onnx", "torch"}
        assert all(0 <= worst <= MOST for worst in network["largest_difference"].values())
    here = str(Path(__file__).parents[3]).encode()
    assert not [p.name for p in exported.iterdir() if here in p.read_bytes()]
    program = torch.export.load(exported / "text_encoder.pt2").module()
    with torch.no_grad():
        text = program(torch.zeros(8, 24, dtype=torch.int64))
    assert text.shape == (8, 64)


@pytest.mark.fuzz
@pytest.mark.row("D7")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*HOLD, *(n for n in recipes() if n not in HOLD)])
def test_every_family_is_exported_or_refused_in_words(name: str, tmp_path: Path, capsys) -> None:
    family, more = HOLD.get(name, (name, {}))
    recipe = recipes()[family](**{**small_fields(family), **more})  # type: ignore[abstract]
    release = textless_release(tmp_path / "release", ["cat", "dog"], recipe)
    out = tmp_path / "out"
    code = export(["--onnx", "--model", str(release), "--out", str(out)])
    said = capsys.readouterr()
    if code == 0:
        index = json.loads((out / INDEX).read_text())
        assert index["networks"]["generator"]["largest_difference"]["onnx"] <= MOST
        assert index["asked_with"] == "label" and index["label_names"] == ["cat", "dog"]
        return
    assert name not in HOLD, said.err
    (line,) = said.err.splitlines()
    assert code == 2 and "cannot be exported: " in line and "(unexpected)" not in line
    assert not list(tmp_path.glob("out*"))


# Without exporting


def test_a_generator_that_reads_words_is_refused(monkeypatch, capsys, tmp_path: Path) -> None:
    from components.artifacts import portable

    model, card = load_release(BUNDLED)
    model.generator.words = "last"
    with pytest.raises(portable.ConfigError, match="reads words while it draws"):
        portable.export_model(model, card, tmp_path / "out", onnx=False, program=True)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export(["--onnx", "--model", str(BUNDLED), "--out", str(tmp_path / "out")]) == 2
    assert "onnxruntime is not installed (--onnx): pip install" in capsys.readouterr().err


def test_what_is_there_stays(capsys, tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "mine.png")
    words = ["--onnx", "--model", str(BUNDLED), "--out"]
    assert export([*words, str(tmp_path)]) == 2
    assert export([*words, str(tmp_path), "--force"]) == 2
    assert export([*words, str(tmp_path / "mine.png"), "--force"]) == 2
    assert export(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "there is something already" in said[0] and "this folder is no export" in said[1]
    assert "there is something already" in said[2] and "no form to export" in said[3]
    assert [p.name for p in tmp_path.iterdir()] == ["mine.png"]
