"""`ganline generate`: same seed same bytes, one line per mistake, nothing written by a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.sampling import generate
from pipeline.commands.generate import main
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
    out, file = tmp_path / "rows.png", tmp_path / "prompts.txt"
    arguments = ["a red circle", "--prompts-file", str(file), "--seeds", "5,2", "--out", str(out)]
    assert main([*arguments, "--model", str(release)]) == 0
    said = capsys.readouterr()
    assert "6 images" in said.out
    assert said.err == f"{file}: 1 blank line left out (line 2)\n"
    with Image.open(out) as image:
        sheet = np.asarray(image)
    assert sheet.shape[0] > sheet.shape[1] * 0.6, "three rows of two, and labels"


def test_a_folder_holds_one_file_per_image_and_an_index(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    prompts = ["a red circle", "a blue square"]
    command = [*prompts, "--seeds", "0-2,9", "--psi", "0.5", "--model", str(release)]
    assert main([*command, "--out", str(out), "--noise", "random"]) == 0
    model, card = load_release(release)
    index = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert [(r["prompt"], r["seed"]) for r in index] == [
        (p, s) for p in prompts for s in (0, 1, 2, 9)
    ]
    assert {p.name for p in out.iterdir()} == {"index.jsonl", *(r["file"] for r in index)}
    for row in index:
        assert row["model"] == card["release"]["content_hash"]
        again = generate(model, [row["prompt"]], [row["seed"]], row["psi"], noise=row["noise"])[
            0
        ].astype(int)
        with Image.open(out / row["file"]) as image:
            assert np.abs(np.asarray(image) - again).max() <= 1, "the index says how to draw it"
    assert index[4]["file"] == "0004_a-blue-square_seed0.png"


def test_bfloat16_draws_nearly_the_same(release: Path, tmp_path: Path) -> None:
    images = []
    for name, more in (("a.png", []), ("b.png", ["--bf16"])):
        assert (
            main(["a red circle", "--model", str(release), "--out", str(tmp_path / name), *more])
            == 0
        )
        with Image.open(tmp_path / name) as image:
            images.append(np.asarray(image).astype(int))
    assert 0 < np.abs(images[0] - images[1]).max() <= 12


def test_nothing_is_replaced_unasked(release: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "mine.png"
    out.write_bytes(b"mine")
    assert main(["a red circle", "--model", str(release), "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert main(["a red circle", "--model", str(release), "--out", str(out), "--force"]) == 0
    assert out.read_bytes() != b"mine"


def test_a_place_that_cannot_be_written_to(release: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "x.png"
    assert main(["a red circle", "--model", str(release), "--out", str(out)]) == 5
    assert "cannot write there" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


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
        (["x" * 10_000], "10000 characters"),
        (["a", "-n", "0"], "n is 0"),
        (["a", "-n", "1000000"], "n is 1000000"),
        (["a", "b", "-n", "6000"], "2 prompts with n 6000"),
        (["a", "--seed", "-1"], "-1 is negative"),
        (["a", "--seed", str(2**70)], "seed is"),
        (["a", "--seeds", "3,1,3"], "seed 3 is listed twice"),
        (["a", "--seeds", "7-3"], "the range 7-3 is empty"),
        (["a", "--seeds", "x"], "'x' is neither a whole number"),
        (["a", "--seeds", "1,2", "-n", "2"], "2 seeds and -n"),
        (["a", "--seeds", "0-599"], "600 images in one picture"),
        (["a", "--batch", "0"], "batch is 0"),
        (["a\udcff"], "surrogate"),
        (["a", "--psi", "2.5"], "psi is 2.5 (--psi)"),
        (["a", "--psi", "-2.5"], "psi is -2.5 (--psi)"),
        (["a", "--psi", "nan"], "psi is nan (--psi)"),
        (["a", "--out", "picture.gif"], "cannot save this as picture.gif"),
        (["a", "--out", "picture.bmp"], "cannot save this as picture.bmp"),
        (["a", "--prompts-file", "absent.txt"], "there is no such file"),
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
        main(["a", "--psi", "x"])
    assert stopped.value.code == 2
