"""`ganline invert` end to end on small releases: what it writes, draws again, and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.inversion import read_target
from components.pretraining.class_features import write_classes
from components.sampling import from_uint8, generate, read_code
from pipeline import cli
from pipeline.commands import interpolate, invert
from pipeline.commands.generate import main as generate_main
from tests.pipeline.tiny_world import write_encoders, write_projected_nets
from tests.pipeline.trained_world import textless_release, trained_world

NAMES = ["cat", "dog", "owl"]
QUICK = ["--steps", "25", "--features", "dino"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of classes, frozen nets, and a picture that it did not draw."""
    folder = tmp_path_factory.mktemp("invert")
    textless_release(folder / "model", NAMES)
    write_encoders(folder / "encoders")
    ramp = np.arange(24 * 40 * 3, dtype=np.uint32).reshape(24, 40, 3) * 7 % 256
    Image.fromarray(ramp.astype(np.uint8)).save(folder / "photo.png")
    return folder


def words(world: Path, out: Path, image: str = "photo.png") -> list[str]:
    paths = ["--model", str(world / "model"), "--encoders", str(world / "encoders")]
    return [str(world / image), "--out", str(out), *paths, *QUICK]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_a_picture_becomes_a_code_that_draws_again(world: Path, tmp_path: Path, capsys) -> None:
    asked = ["--label", "dog", "--pivotal", "10"]
    for name in ("a", "b"):
        assert cli.main(["invert", *words(world, tmp_path / name), *asked]) == 0
    said = capsys.readouterr()
    assert "40 x 24 px: cut to its middle square, resized to 16 x 16" in said.err
    assert "distance: pixels and the features of dino" in said.err
    assert f"{tmp_path / 'a'}: distance " in said.out
    for path in sorted(p for p in (tmp_path / "a").rglob("*") if p.is_file()):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == twin.read_bytes(), f"{path.name}: same command, same bytes"
    code = read_code(tmp_path / "a" / "code.safetensors")
    assert code.subject == "dog"
    with (tmp_path / "a" / "distance.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["code"] * 26 + ["pivotal"] * 11
    found, tuned = code.facts["distance"], float(rows[-1]["distance"])
    assert tuned < found < code.facts["mean_distance"]
    with Image.open(tmp_path / "a" / "reconstruction.png") as sheet:
        assert sheet.width > 3 * 96

    again = ["--code", str(tmp_path / "a" / "code.safetensors"), "--out"]
    for model, folder in ((world / "model", "found"), (tmp_path / "a" / "tuned", "tuned")):
        out = str(tmp_path / f"{folder}.png")
        assert generate_main([*again, out, "--model", str(model)]) == 0
    assert np.abs(pixels(tmp_path / "found.png") - pixels(tmp_path / "tuned.png")).max() > 1
    mean = [*again, str(tmp_path / "mean.png"), "--psi", "0", "--model", str(world / "model")]
    assert generate_main(mean) == 0
    expected = generate(load_release(world / "model")[0], ["dog"], [0], 0.0)[0]
    assert np.abs(pixels(tmp_path / "mean.png") - expected).max() <= 1


def test_a_tuned_release_samples_like_any_other(world: Path, tmp_path: Path) -> None:
    assert invert.main([*words(world, tmp_path / "out"), "--label", "cat", "--pivotal", "5"]) == 0
    tuned = tmp_path / "out" / "tuned"
    model, card = load_release(tuned)
    _, before = load_release(world / "model")
    assert card["parent_sha256"] == before["files"]["generator.safetensors"]
    assert card["release"]["content_hash"] != before["release"]["content_hash"]
    assert card["tuned"]["pivotal_steps"] == 5
    out = ["--label", "owl", "--model", str(tuned), "--out", str(tmp_path / "owl.png")]
    assert generate_main(out) == 0
    drawn = generate(model, ["owl"], [0])[0]
    assert np.abs(pixels(tmp_path / "owl.png") - drawn).max() <= 1


def test_a_label_is_guessed_and_codes_are_walked_between(world: Path, tmp_path, capsys) -> None:
    model, _ = load_release(world / "model")
    for name in ("cat", "owl"):
        mean = generate(model, [name], [0], 0.0)[0]
        Image.fromarray(mean).save(world / f"{name}.png")
        assert invert.main(words(world, tmp_path / name, f"{name}.png")) == 0
        assert f"label: {name}, by the nearest mean image" in capsys.readouterr().err
        assert read_code(tmp_path / name / "code.safetensors").subject == name
    codes = [str(tmp_path / name / "code.safetensors") for name in ("cat", "owl")]
    asked = ["--code", *codes, "--model", str(world / "model"), "--out"]
    assert interpolate.main([*asked, str(tmp_path / "walk"), "--frames", "3"]) == 0
    assert generate_main([*asked, str(tmp_path / "ends")]) == 0
    assert generate_main([*asked, str(tmp_path / "ends.png")]) == 0

    def images(folder: Path) -> list[np.ndarray]:
        lines = (folder / "index.jsonl").read_text().splitlines()
        return [pixels(folder / json.loads(line)["file"]) for line in lines]

    frames, ends = images(tmp_path / "walk"), images(tmp_path / "ends")
    assert np.abs(frames[0] - ends[0]).max() <= 1
    assert np.abs(frames[2] - ends[1]).max() <= 1
    index = json.loads((tmp_path / "ends" / "index.jsonl").read_text().splitlines()[1])
    assert (index["label"], index["code"]) == ("owl", codes[1])


def test_only_a_classifier_of_these_classes_guesses(world: Path, tmp_path, capsys) -> None:
    """As many logits as there are classes say nothing; their names do, in whatever order."""
    net = write_projected_nets(tmp_path, num_classes=4)
    size = load_release(world / "model")[1]["resolution_px"]
    image = from_uint8(read_target(world / "photo.png", size)[0][None])
    ranked = net(image)["logits"][0].argsort(descending=True).tolist()
    liked = dict(zip(ranked, ["fish", "owl", "cat", "dog"], strict=True))  # the fish is not asked
    ours, others = [liked[i] for i in range(4)], ["fish", "bird", "bear", "bee"]
    for i, (known, logits, by) in enumerate(
        [
            (NAMES, ours, "the classifier"),
            (NAMES, others, "the nearest mean image"),
            (others, others, "the nearest mean image"),
        ]
    ):
        write_classes(tmp_path / "classifier", known, torch.zeros(len(known), 4), logits)
        asked = [*words(world, tmp_path / str(i)), "--features", "classifier", "--steps", "2"]
        assert invert.main([*asked, "--encoders", str(tmp_path)]) == 0
        said = capsys.readouterr().err
        assert f", by {by};" in said
        assert i or "label: owl" in said


def test_models_of_text_and_of_nothing_are_inverted(world: Path, tmp_path: Path, capsys) -> None:
    textless_release(tmp_path / "nothing", [])
    folder = trained_world(tmp_path / "text")
    Image.new("RGB", (8, 8)).save(folder / "samples.png")
    write_release(
        folder / "release", artifact=folder / "artifacts" / "base", metrics={},
        encoders=folder / "artifacts" / "encoders", samples=folder / "samples.png",
        config=PublishConfig(),
    )  # fmt: skip
    asked = [*words(world, tmp_path / "a"), "--features", "none"]
    assert invert.main([*asked, "--model", str(tmp_path / "nothing"), "--layers", "each"]) == 0
    assert "distance: pixels alone" in capsys.readouterr().err
    asked = [*words(world, tmp_path / "b"), "--model", str(folder / "release")]
    assert invert.main(asked) == 2
    assert "no prompt (PROMPT): say behind the file what the image shows" in capsys.readouterr().err
    assert invert.main([*asked, "a red circle", "--pivotal", "2"]) == 0
    code = read_code(tmp_path / "b" / "code.safetensors")
    assert (code.subject, code.ws_LD.shape[1]) == ("a red circle", 8 + 16)
    tuned = ["--model", str(tmp_path / "b" / "tuned"), "--out", str(tmp_path / "c.png")]
    assert generate_main(["a blue square", *tuned]) == 0
    note = (tmp_path / "b" / "tuned" / "MODEL_CARD.md").read_text()
    assert "Tuned around one image" in note


@pytest.mark.parametrize(
    ("more", "exit_code", "says"),
    [
        (["--steps", "0"], 2, "--steps is 0"),
        (["--pivotal", "-1"], 2, "--pivotal is -1"),
        (["--seed", "-1"], 2, "seed is -1"),
        (["--label", "cow"], 2, "label 'cow' is not known"),
        (["a cat"], 2, "the model takes class labels, not prompts"),
        (["--features", "judge"], 5, "no frozen net for judge"),
        (["--encoders", "absent"], 5, "no frozen net for dino"),
        (["--model", "absent"], 5, "there is no model"),
    ],
)
def test_a_mistake_is_one_line(world, tmp_path, monkeypatch, capsys, more, exit_code, says) -> None:
    monkeypatch.chdir(tmp_path)
    assert invert.main([*words(world, tmp_path / "x"), *more]) == exit_code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert says in last
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_picture_or_in_the_way_is_refused(world: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "text.png").write_text("no picture")
    asked = words(world, tmp_path / "x")
    assert invert.main([str(tmp_path / "text.png"), *asked[1:]]) == 3
    assert "not an image: image.format" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "letter.txt").write_text("keep me")
    assert invert.main([*asked, "--force"]) == 2
    assert "holds other files" in capsys.readouterr().err
    (tmp_path / "x" / "letter.txt").rename(tmp_path / "x" / "code.safetensors")
    assert invert.main(asked) == 2
    assert "holds an earlier result" in capsys.readouterr().err
    assert invert.main([*asked, "--force", "--label", "cat", "--steps", "1"]) == 0


def test_a_generator_that_gives_nan_stops(world: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from components.inversion import ImageDistance

    monkeypatch.setattr(ImageDistance, "__call__", _nan(ImageDistance.__call__))
    assert invert.main([*words(world, tmp_path / "x"), "--label", "cat"]) == 4
    assert "the distance is nan (code, step 0)" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def _nan(measure):
    def spoilt(self, image):
        return measure(self, image * float("nan"))

    return spoilt


def test_the_code_of_another_model_is_refused(world: Path, tmp_path: Path, capsys) -> None:
    assert invert.main([*words(world, tmp_path / "x"), "--label", "cat", "--steps", "1"]) == 0
    other = textless_release(tmp_path / "other", NAMES, seed=1)
    code = str(tmp_path / "x" / "code.safetensors")
    out = ["--out", str(tmp_path / "y.png")]
    capsys.readouterr()
    assert generate_main(["--code", code, "--model", str(other), *out]) == 2
    assert "give the model that the code was found for" in capsys.readouterr().err
    save_file(load_file(code), tmp_path / "bare.safetensors")
    bare = ["--code", str(tmp_path / "bare.safetensors"), "--model", str(world / "model")]
    assert generate_main([*bare, *out]) == 5
    assert "this is no file of a code" in capsys.readouterr().err
    for more in (["a cat"], ["--label", "cat"]):
        assert generate_main([*more, *out, "--code", code]) == 2
        assert "a code and a prompt or label" in capsys.readouterr().err
    assert interpolate.main(["--code", code, "--out", str(tmp_path / "w.gif")]) == 2
    assert "nothing to walk between" in capsys.readouterr().err
    assert not (tmp_path / "y.png").exists()
