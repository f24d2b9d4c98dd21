"""`ganline mix`, `interpolate`, `sweep` on a real release: the pictures, and mistakes in a line."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.sampling import Keyframe, Towards, fit_centroids, generate, walk
from components.sampling import mix as mix_images
from models.families import FAMILIES, Family
from models.stylegan_xl.generator import StyleGANXLGenerator
from pipeline.commands import interpolate, mix, sweep
from pipeline.commands.generate import main as generate_main
from tests.pipeline.trained_world import textless_release, trained_world

PROMPTS = ["a red circle", "a blue square"]
MAINS = {"mix": mix.main, "interpolate": interpolate.main, "sweep": sweep.main}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = trained_world(tmp_path_factory.mktemp("modes"))
    Image.new("RGB", (8, 8)).save(world / "samples.png")
    write_release(
        world / "release",
        artifact=world / "artifacts" / "base",
        encoders=world / "artifacts" / "encoders",
        metrics={},
        samples=world / "samples.png",
        config=PublishConfig(),
    )
    return world / "release"


def drawn(folder: Path) -> list[tuple[dict, np.ndarray]]:
    """Return the rows of a folder's index, each with its image."""
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    return [(row, np.asarray(Image.open(folder / row["file"])).astype(int)) for row in rows]


def test_mix_draws_rows_columns_and_mixtures(release: Path, tmp_path: Path, capsys) -> None:
    words = [*PROMPTS, "--rows", "0-1", "--cols", "5,7,9", "--mix-layers", "0-1"]
    words += ["--model", str(release)]
    assert mix.main([*words, "--out", str(tmp_path / "mix")]) == 0
    assert mix.main([*words, "--out", str(tmp_path / "mix.png")]) == 0
    assert "11 images" in capsys.readouterr().out
    rows = drawn(tmp_path / "mix")
    assert len(rows) == 3 + 2 * 4
    model, _ = load_release(release)
    for row, image in rows:
        assert row["layers"] == [0, 1]
        pair = ([row["prompt"]], [row["seed"]], [row["style"]], [row["style_seed"]], [0, 1])
        assert np.abs(image - mix_images(model, *pair)[0]).max() <= 1
    assert [(row["seed"], row["style_seed"]) for row, _ in rows[3:7]] == [
        (0, 0),
        (0, 5),
        (0, 7),
        (0, 9),
    ]
    assert [rows[4][0]["prompt"], rows[4][0]["style"]] == PROMPTS
    with Image.open(tmp_path / "mix.png") as sheet:
        assert sheet.width > sheet.height


def test_sweep_draws_each_seed_at_each_psi(release: Path, tmp_path: Path, capsys) -> None:
    words = [PROMPTS[0], "--seeds", "1,2", "--psis=-0.5,0,1", "--model", str(release)]
    assert sweep.main([*words, "--out", str(tmp_path / "sweep")]) == 0
    assert sweep.main([*words, "--out", str(tmp_path / "sweep.png")]) == 0
    assert "6 images" in capsys.readouterr().out
    rows = drawn(tmp_path / "sweep")
    assert [(row["seed"], row["psi"]) for row, _ in rows] == [
        (seed, psi) for seed in (1, 2) for psi in (-0.5, 0, 1)
    ]
    model, _ = load_release(release)
    for row, image in rows:
        plain = generate(model, [row["prompt"]], [row["seed"]], row["psi"])[0]
        assert np.abs(image - plain).max() <= 1
    assert np.abs(rows[1][1] - rows[4][1]).max() <= 1, "psi 0 is the same for every seed"


@pytest.mark.parametrize("name", ["walk.mp4", "walk.gif"])
def test_interpolate_animates(release: Path, tmp_path: Path, capsys, name: str) -> None:
    words = [
        *PROMPTS,
        "--seed",
        "3",
        "--frames",
        "6",
        "--fps",
        "10",
        "--loop",
        "--model",
        str(release),
    ]
    for folder in ("a", "b"):
        assert interpolate.main([*words, "--out", str(tmp_path / folder / name)]) == 0
    assert "6 frames" in capsys.readouterr().out
    content = (tmp_path / "a" / name).read_bytes()
    assert content == (tmp_path / "b" / name).read_bytes(), "same command, same bytes"
    assert content[:3] == b"GIF" or content[4:8] == b"ftyp"


def test_interpolate_saves_frames(release: Path, tmp_path: Path) -> None:
    words = [PROMPTS[0], "--seeds", "3,3,5", "--frames", "5", "--space", "z", "--out"]
    assert interpolate.main([*words, str(tmp_path / "frames"), "--model", str(release)]) == 0
    rows = drawn(tmp_path / "frames")
    assert [row["frame"] for row, _ in rows] == list(range(5))
    assert [stop["seed"] for stop in rows[0][0]["stops"]] == [3, 3, 5]
    model, _ = load_release(release)
    stops = [Keyframe(prompt=PROMPTS[0], seed=seed) for seed in (3, 3, 5)]
    expected = np.concatenate(list(walk(model, stops, 5, space="z")))
    assert all(np.abs(a - b).max() <= 1 for (_, a), b in zip(rows, expected, strict=True))


def test_classes_are_drawn_by_name_or_index(tmp_path: Path, capsys) -> None:
    model = ["--model", str(textless_release(tmp_path / "model", ["cat", "dog", "owl"]))]
    words = ["--label", "dog", "--label", "2", "--out", str(tmp_path / "out"), *model]
    assert generate_main(words) == 0
    rows = drawn(tmp_path / "out")
    assert [(row["prompt"], row["label"]) for row, _ in rows] == [(None, "dog"), (None, "owl")]
    assert [row["file"] for row, _ in rows] == ["0000_dog_seed0.png", "0001_owl_seed0.png"]
    swept = ["--label", "cat", "owl", "--seeds", "0", "--psis", "0,1", "--out", str(tmp_path / "s")]
    assert sweep.main([*swept, *model]) == 0
    assert [(row["label"], row["psi"]) for row, _ in drawn(tmp_path / "s")] == [
        ("cat", 0.0),
        ("cat", 1.0),
        ("owl", 0.0),
        ("owl", 1.0),
    ]
    capsys.readouterr()
    for words, says in (
        (["a cat"], "class labels, not prompts"),
        ([], "no label"),
        (["--label", "cow"], "'cow' is not known"),
        (["--label", "3"], "'3' is not known"),
    ):
        assert generate_main([*words, *model, "--out", str(tmp_path / "x.png")]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_classes_are_mixed_and_walked_between(tmp_path: Path) -> None:
    folder = textless_release(tmp_path / "model", ["cat", "dog", "owl"])
    words = ["--label", "cat", "2", "--model", str(folder), "--out"]
    assert interpolate.main([*words, str(tmp_path / "w.gif"), "--frames", "3"]) == 0
    assert interpolate.main([*words, str(tmp_path / "walk"), "--frames", "5", "--seed", "4"]) == 0
    rows = drawn(tmp_path / "walk")
    assert [stop["prompt"] for stop in rows[0][0]["stops"]] == ["cat", "owl"]
    model, _ = load_release(folder)
    ends = generate(model, ["cat", "owl"], [4, 4])
    assert np.abs(rows[0][1] - ends[0]).max() <= 1
    assert np.abs(rows[4][1] - ends[1]).max() <= 1
    steps = [np.abs(a - b).mean() for (_, a), (_, b) in itertools.pairwise(rows)]
    assert min(steps) > 0, "classes change little by little"
    assert max(steps) < 0.6 * np.abs(rows[0][1] - rows[4][1]).mean()
    assert mix.main([*words, str(tmp_path / "mix"), "--rows", "0", "--cols", "1,2"]) == 0
    mixed = drawn(tmp_path / "mix")
    assert [(row["label"], row["style"]) for row, _ in mixed[2:]] == [
        ("cat", "cat"),
        ("cat", "owl"),
        ("cat", "owl"),
    ]
    pair = (["cat"], [0], ["owl"], [1], mixed[3][0]["layers"])
    assert np.abs(mixed[3][1] - mix_images(model, *pair)[0]).max() <= 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfClasses:
    """A family whose truncation can go to centroids."""

    name: ClassVar[str] = "of_classes"

    def generator(self, resolution, shape):
        return StyleGANXLGenerator(
            shape=shape, stem_resolution=resolution, channel_base=256, channel_max=8, stem_layers=5,
            z_dim=6, w_dim=10, embed_dim=7, num_mapping_layers=2,
        )  # fmt: skip


def test_psi_draws_to_centroids_or_in_some_layers(tmp_path: Path, monkeypatch, capsys) -> None:
    family = Family(recipe=f"{__name__}:OfClasses")
    monkeypatch.setitem(FAMILIES, "of_classes", family)
    folder = textless_release(tmp_path / "model", ["cat", "dog"], OfClasses())
    words = ["--label", "dog", "--model", str(folder), "--seeds", "1,2", "--centroids", "5"]
    words += ["--out"]
    for name in ("a", "b"):
        assert generate_main([*words, str(tmp_path / name), "--psi", "0.3", "--cutoff", "2"]) == 0
    rows = drawn(tmp_path / "a")
    assert {(row["psi"], row["centroids"], row["cutoff"]) for row, _ in rows} == {(0.3, 5, 2)}
    assert [p.read_bytes() for p in sorted((tmp_path / "a").iterdir())] == [
        p.read_bytes() for p in sorted((tmp_path / "b").iterdir())
    ]
    model, card = load_release(folder)
    aim = Towards(centroids_MD=fit_centroids(model.generator, card["shape"], 5), cutoff=2)
    expected = generate(model, ["dog"] * 2, [1, 2], 0.3, towards=aim)
    assert max(np.abs(image - e).max() for (_, image), e in zip(rows, expected, strict=True)) <= 1
    assert sweep.main([*words, str(tmp_path / "c"), "--psis", "0.3,1"]) == 0
    towards = Towards(centroids_MD=aim.centroids_MD)
    expected = generate(model, ["dog"] * 4, [1, 1, 2, 2], [0.3, 1, 0.3, 1], towards=towards)
    swept = [image for _, image in drawn(tmp_path / "c")]
    assert np.abs(np.stack(swept) - expected).max() <= 1
    capsys.readouterr()
    plain = textless_release(tmp_path / "plain", ["cat", "dog"])
    for command in (generate_main, mix.main, sweep.main, interpolate.main):
        out = tmp_path / ("x.gif" if command is interpolate.main else "x.png")
        asked = ["--label", "cat", "dog", "--centroids", "5", "--model", str(plain)]
        assert command([*asked, "--out", str(out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: this family's codes know no centroids (--centroids): ")
        assert not out.exists()


def test_a_model_of_nothing_needs_no_prompt(tmp_path: Path, capsys) -> None:
    model = ["--model", str(textless_release(tmp_path / "model", []))]
    assert generate_main(["-n", "2", "--out", str(tmp_path / "out"), *model]) == 0
    assert [row["file"] for row, _ in drawn(tmp_path / "out")] == [
        "0000_seed0.png",
        "0001_seed1.png",
    ]
    assert sweep.main(["--seeds", "0", "--out", str(tmp_path / "s.png"), *model]) == 0
    walked = ["--seeds", "0,1", "--frames", "3", "--out", str(tmp_path / "w.mp4"), *model]
    assert interpolate.main(walked) == 0
    mixed = ["--rows", "0,1", "--cols", "2", "--out", str(tmp_path / "m.png"), *model]
    assert mix.main(mixed) == 0
    capsys.readouterr()
    assert generate_main(["a cat", *model, "--out", str(tmp_path / "x.png")]) == 2
    assert "neither prompt nor label" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        ("mix", ["a", "b", "c"], "3 prompts"),
        ("mix", [], "0 prompts"),
        ("mix", ["a", "--rows", "1,1"], "seed 1 is listed twice"),
        ("mix", ["a", "--mix-layers", "x"], "'x' is neither a whole number"),
        ("mix", ["a", "--mix-layers", "3-1"], "the range 3-1 is empty"),
        ("mix", ["a", "--rows", "0-199"], "1005 images in one picture"),
        ("mix", ["a", "--out", "x.mp4"], "cannot save this as x.mp4"),
        ("sweep", [], "no prompt"),
        ("sweep", ["a", "--psis", "0,5"], "psis is 5.0 (--psis)"),
        ("sweep", ["a", "--psis", "0,0"], "lists a number twice"),
        ("interpolate", ["a"], "nothing to walk between"),
        ("interpolate", ["a", "b", "--frames", "1"], "1 frame for 2 stops"),
        ("interpolate", ["a", "b", "c", "--frames", "2"], "2 frames for 3 stops"),
        ("interpolate", ["a", "b", "--seeds", "1,2,3"], "2 prompts and 3 seeds"),
        ("interpolate", ["a", "b", "--fps", "0"], "fps is 0"),
        ("interpolate", ["a", "b", "--out", "x.png"], "cannot save this as x.png"),
        ("interpolate", ["a", "b", "--psi", "9"], "psi is 9.0 (--psi)"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    tmp_path, monkeypatch, capsys, command, words, says
) -> None:
    monkeypatch.chdir(tmp_path)
    assert MAINS[command]([*words, "--model", "absent"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert list(tmp_path.iterdir()) == []


def test_layers_that_the_model_lacks_are_refused(release: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "x.png"
    words = ["a red circle", "--mix-layers", "0-99", "--out", str(out), "--model", str(release)]
    assert mix.main(words) == 2
    said = capsys.readouterr().err
    assert "error: no layer " in said and " more (layers): the generator has layers 0 to " in said
    assert not out.parent.exists()
