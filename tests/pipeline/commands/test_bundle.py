"""The command that fills the box, and what draws as long as nothing is published."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from components.artifacts.release import load_release
from components.pretraining.config import BUNDLED
from components.sampling import generate
from models.features import read_card
from pipeline.commands import bundle, default_folders, invert
from pipeline.commands import generate as generate_command
from pipeline.places import bundled_folder
from tests.house_source import ROOT
from tests.pipeline.params.params_example import valid

BOX = bundled_folder()
GRAPH = {
    "stages": {
        "publish": {"outs": ["artifacts/release"]},
        "encoders": {"outs": ["artifacts/encoders"]},
    }
}


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """Drawings so few that they are drawn in a second."""
    values = valid()
    values["source"]["path"] = "data/raw/train"
    pairs = {"pairs": 10, "encoders_pairs": 120, "judge_pairs": 8, "validation_pairs": 4}
    values["synthesize"] |= {**pairs, "test_pairs": 60, "workers": 1, "resolution_px": 64}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def words(preset: Path, out: Path) -> list[str]:
    return ["--preset", str(preset), "--out", str(out)]


def test_nets_go_into_the_box_twice_alike(preset: Path, tmp_path: Path, capsys) -> None:
    nets = ["--encoders", str(BOX / "encoders"), "--commit", "ab" * 20]
    for name in ("one", "two"):
        assert bundle.main([*nets, *words(preset, tmp_path / name)]) == 0
    said = capsys.readouterr()
    assert "of at most 12,000,000" in said.out
    assert said.err.count("drawing again what the preset names") == 2
    for role in BUNDLED:
        for name in ("card.json", "model.safetensors"):
            files = [tmp_path / x / "encoders" / role / name for x in ("one", "two")]
            assert files[0].read_bytes() == files[1].read_bytes(), (role, name)
        origin = read_card(tmp_path / "one/encoders" / role).origin
        assert (origin["preset"], origin["commit"]) == ("small", "ab" * 20)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["encoders"]


def test_a_role_alone_leaves_the_others(preset: Path, tmp_path: Path) -> None:
    box = tmp_path / "box"
    shutil.copytree(BOX / "encoders", box / "encoders")
    shutil.copytree(BOX / "encoders/judge", tmp_path / "nets/judge")
    assert bundle.main(["--encoders", str(tmp_path / "nets"), *words(preset, box)]) == 0
    for role in BUNDLED:
        same = read_card(box / "encoders" / role) == read_card(BOX / "encoders" / role)
        assert same == (role != "judge")


@pytest.mark.parametrize("part", ["encoders", "release"])
def test_what_is_too_large_replaces_nothing(part, preset, tmp_path, monkeypatch, capsys) -> None:
    box = tmp_path / "box"
    shutil.copytree(BOX, box)
    monkeypatch.setitem(bundle.MOST_BYTES, part, 100_000)
    before = {path: path.read_bytes() for path in box.rglob("*") if path.is_file()}
    assert bundle.main([f"--{part}", str(BOX / part), *words(preset, box)]) == 6
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {part} has ") and "at most 100,000 are allowed" in last
    assert {path: path.read_bytes() for path in box.rglob("*") if path.is_file()} == before


def test_a_release_goes_into_the_box(preset: Path, tmp_path: Path) -> None:
    """One in half precision already is itself again; its hashes and its size stay."""
    assert bundle.main(["--release", str(BOX / "release"), *words(preset, tmp_path / "box")]) == 0
    model, card = load_release(tmp_path / "box/release")
    before, old = load_release(BOX / "release")
    assert card["bundled"]["preset"] == "small"
    assert card["files"] == old["files"]
    assert card["release"]["content_hash"] == old["release"]["content_hash"]
    if card["bundled"]["stored"] == "float16":
        assert (card["bundled"]["mean_levels"], card["bundled"]["most_levels"]) == (0.0, 0)
    prompts = ["a red ring on a blue background"]
    assert np.array_equal(generate(model, prompts, [3]), generate(before, prompts, [3]))


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ([], 2, "nothing to bundle"),
        (["--encoders", "nowhere"], 2, "no frozen net in it"),
        (["--release", "nowhere"], 5, "there is no card.json"),
        (["--release", "nowhere", "--preset", "absent.yaml"], 2, "no such file"),
    ],
)
def test_a_mistake_is_one_line(more, code, says, preset, tmp_path, capsys) -> None:
    assert bundle.main([*words(preset, tmp_path / "box"), *more]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and says in last
    assert not [path for path in (tmp_path / "box").rglob("*") if path.is_file()]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which nothing has run."""
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(GRAPH))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_bundled_model_draws_and_a_line_says_whose_it_is(project: Path, capsys) -> None:
    asked = ["a small red ring on a blue background", "--out", "ring.png"]
    assert generate_command.main(asked) == 0
    said = capsys.readouterr()
    card = json.loads((BOX / "release/card.json").read_text())
    facts = f"{card['release']['model_name']}, {card['resolution_px']} px"
    assert said.err == (
        f"drawn by the bundled model ({facts}, by {card['bundled']['preset']}); "
        "your own: make demo\n"
    )
    model, _ = load_release(BOX / "release")
    with Image.open("ring.png") as image:
        drawn = np.asarray(image).astype(int)
    # The command convolves by another sum: a value between two levels may fall to either side.
    assert np.abs(drawn - generate(model, [asked[0]], [0])[0]).max() <= 1


REFUSED = {
    "generate 'a red ring' --seed x": (2, "'x' is neither a whole number nor a range (--seeds)"),
    "generate": (2, "no prompt"),
    "generate 'a red ring' --out a.gif": (2, "cannot save this as a.gif"),
    "generate 'a red ring' --model absent": (5, "there is no model (absent): run make demo first"),
    "generate 'a red ring' --model empty": (5, "there is no card.json (empty)"),
    "generate --code absent --model absent": (5, "there is no model (absent)"),
    "mix a b c": (2, "3 prompts (prompt)"),
    "interpolate a b --seeds 1,2,3": (2, "2 prompts and 3 seeds"),
    "sweep a --psis 0,9": (2, "psis is 9.0 (--psis)"),
    "invert absent.png a --out code": (3, "no such file (absent.png)"),
    "invert absent.png a --out code --model absent": (3, "no such file (absent.png)"),
    "edit --to b": (2, "no prompt (prompt)"),
    "edit a --to b --model absent": (5, "there is no model (absent)"),
    "attributes large": (2, "no prompt (prompt)"),
    "upscale absent.png": (3, "not readable: No such file or directory (absent.png)"),
    "export --onnx --model absent": (5, "there is no model (absent)"),
    "serve absent": (5, "there is no model (absent)"),
    "init absent": (3, "no such folder (absent)"),
}


def test_a_wrong_request_is_one_line_before_anything_is_loaded(project: Path) -> None:
    """Nor is it said whose model would draw: what is wrong is what counts."""
    (project / "empty").mkdir()
    (project / "params.yaml").write_text("seed: 1\n")
    code = (
        "import shlex, sys\nfrom pipeline.cli import main\n"
        "codes = [main(shlex.split(line)) for line in sys.argv[1:]]\n"
        "print(codes, [name for name in ('torch', 'mlflow') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *REFUSED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{[code for code, _ in REFUSED.values()]} []\n"
    said = done.stderr.splitlines()
    for line, (_, wanted) in zip(said, REFUSED.values(), strict=True):
        assert line.startswith("error: ") and wanted in line
    assert sorted(path.name for path in project.iterdir()) == ["dvc.yaml", "empty", "params.yaml"]


def test_drawing_imports_torch_and_little_else(project: Path) -> None:
    """Each of these takes longer to import than an image takes to draw."""
    code = (
        "import sys; from pipeline.commands.generate import main\n"
        "main(['a red ring', '--out', 'ring.png'])\n"
        "heavy = 'ray mlflow dvc open_clip timm torchvision torch._dynamo pandas scipy pyarrow'\n"
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert (project / "ring.png").is_file()


def test_the_own_model_comes_first(project: Path, capsys) -> None:
    (project / "artifacts").mkdir()
    shutil.copytree(BOX / "release", project / "artifacts/release")
    assert generate_command.main(["a red ring", "--out", "ring.png"]) == 0
    assert capsys.readouterr().err == ""
    (project / "artifacts/release/card.json").unlink()
    assert generate_command.main(["a red ring", "--out", "other.png"]) == 5, "broken, not absent"
    assert default_folders.published() == project / "artifacts/release"


def test_words_that_the_model_never_learned_are_told(project: Path, capsys) -> None:
    prompts = ["a purple elephant", "a red ring", "an elephant in a hat"]
    assert generate_command.main([*prompts, "--out", "sheet.png"]) == 0
    _, note = capsys.readouterr().err.splitlines()
    words = read_card(BOX / "release/text_encoder").architecture["tokenizer"]["words"]
    assert note == (
        "note: the model never learned elephant, hat; "
        f"it knows {len(words)} words: {', '.join(words)}"
    )


def test_a_code_is_found_with_the_bundled_nets(project: Path, capsys) -> None:
    assert generate_command.main(["a red ring on a blue background", "--out", "ring.png"]) == 0
    prompt = ["a red ring on a blue background", "--steps", "2"]
    assert invert.main(["ring.png", *prompt, "--out", "code"]) == 0
    assert generate_command.main(["--code", "code/code.safetensors", "--out", "again.png"]) == 0
    said = capsys.readouterr().err
    assert "distance: pixels and the features of classifier" in said
    assert said.count("drawn by the bundled model") == 3, "one line for each command"
    (project / "artifacts/encoders").mkdir(parents=True)
    assert default_folders.frozen_nets() == project / "artifacts/encoders"


def test_without_a_box_it_is_as_before(project: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(default_folders, "bundled_folder", lambda: project / "no box")
    assert generate_command.main(["a red ring", "--out", "ring.png"]) == 5
    assert "run make demo first" in capsys.readouterr().err
