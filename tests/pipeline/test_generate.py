"""`ganline generate`: same seed same bytes, one line per mistake, nothing written by a mistake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from components.publishing import PublishConfig
from components.release import load_release, write_release
from components.sampling import generate
from pipeline.generate import main
from tests.pipeline.trained_world import trained_world


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = trained_world(tmp_path_factory.mktemp("generate"))
    Image.new("RGB", (8, 8)).save(world / "samples.png")
    write_release(
        world / "artifacts" / "release",
        artifact=world / "artifacts" / "base",
        encoders=world / "artifacts" / "encoders",
        metrics={},
        samples=world / "samples.png",
        config=PublishConfig(),
    )
    return world / "artifacts" / "release"


def test_one_image_is_saved_as_it_is(release: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "ring.png"
    assert main(["a red circle", "--seed", "3", "--out", str(out), "--model", str(release)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: 1 image, ")
    assert said.rstrip().endswith("s per image")
    model, _ = load_release(release)
    with Image.open(out) as image:
        assert np.array_equal(np.asarray(image), generate(model, ["a red circle"], [3])[0])
    assert [path.name for path in out.parent.iterdir()] == ["ring.png"]


def test_the_same_command_gives_the_same_bytes(release: Path, tmp_path: Path) -> None:
    command = ["a red circle", "-n", "4", "--psi", "0.7", "--model", str(release), "--out"]
    assert main([*command, str(tmp_path / "a.png")]) == 0
    assert main([*command, str(tmp_path / "b.png")]) == 0
    assert main([*command, str(tmp_path / "c.png"), "--seed", "1"]) == 0
    contents = [(tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png")]
    assert contents[0] == contents[1] != contents[2]


def test_prompts_of_the_line_and_of_a_file_make_rows(release: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "prompts.txt").write_text("a blue square\n\na green circle\n", encoding="utf-8")
    out = tmp_path / "rows.png"
    file = str(tmp_path / "prompts.txt")
    arguments = ["a red circle", "--prompts", file, "-n", "2", "--out", str(out)]
    assert main([*arguments, "--model", str(release)]) == 0
    assert "6 images" in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.height > image.width, "three rows of two"


def test_the_default_model_is_the_one_publish_wrote(release, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(release.parents[1])
    graph = {"stages": {"publish": {"outs": ["artifacts/release"]}}}
    (release.parents[1] / "dvc.yaml").write_text(yaml.safe_dump(graph))
    assert main(["a red circle", "--out", str(tmp_path / "x.png")]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no prompt"),
        ([""], "prompt is empty"),
        (["x" * 10_001], "10001 characters"),
        (["a", "-n", "0"], "n is 0"),
        (["a", "-n", "1000000"], "n is 1000000"),
        (["a", "b", "-n", "6000"], "2 prompts with n 6000"),
        (["a", "--seed", "-1"], "seed is -1"),
        (["a", "--seed", str(2**70)], "seed is"),
        (["a", "--psi", "1.5"], "truncation is 1.5"),
        (["a", "--psi", "nan"], "truncation is nan"),
        (["a", "--out", "picture.gif"], "cannot save an image as picture.gif"),
        (["a", "--prompts", "absent.txt"], "cannot be read"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--model", "absent"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_without_a_model_it_says_how_to_get_one(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["a red circle", "--model", "artifacts/release"]) == 5
    assert "run make demo first" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_none_end_with_two(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["a", "--seed", "x"])
    assert stopped.value.code == 2
