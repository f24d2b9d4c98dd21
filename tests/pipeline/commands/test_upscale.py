"""`ganline upscale` and `ganline cascade`, with the published formats and with our models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifacts.publishing import PublishConfig
from components.artifacts.release import write_release
from pipeline.commands.generate import main as generate_command
from pipeline.commands.upscale import main as upscale
from tests.models.gigagan.published import photo, words_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return words_world(tmp_path_factory.mktemp("words"))


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def test_a_picture_of_any_size_is_enlarged_the_same_every_time(
    world: Path, tmp_path: Path, capsys
) -> None:
    file = photo(tmp_path, 37, 21)
    words = [str(file), "--model", str(world / "aura")]

    def made(name: str, *more: str) -> Path:
        assert upscale([*words, "--out", str(tmp_path / name), *more]) == 0
        return tmp_path / name

    first = made("a.png")
    assert "148 x 84 px, 4 times as large" in capsys.readouterr().out
    assert Image.open(first).size == (148, 84)
    assert made("b.png").read_bytes() == first.read_bytes()
    assert np.abs(pixels_of(made("c.png", "--batch", "1")) - pixels_of(first)).max() <= 1
    assert (pixels_of(made("d.png", "--seed", "1")) != pixels_of(first)).any()
    assert (pixels_of(made("e.png", "--blend", "none")) != pixels_of(first)).any()
    assert Image.open(made("f.jpg")).size == (148, 84)
    # Tiles that overlap depend on their neighbourhood alone, so a larger picture has the same
    # pixels away from its edges.
    Image.open(file).crop((0, 0, 37, 16)).save(tmp_path / "photo.png")
    assert np.array_equal(pixels_of(made("g.png"))[:30], pixels_of(first)[:30])


def test_ours_is_told_the_text_and_needs_none(world: Path, tmp_path: Path, capsys) -> None:
    file = photo(tmp_path, 9, 11)
    for name, part in (("both", "both"), ("up", "up")):
        base = [str(file), "--model", str(world / name)]
        assert upscale([*base, "--out", str(tmp_path / f"{name}.png")]) == 5
        assert "run ganline publish first" in capsys.readouterr().err
        write_release(
            tmp_path / name,
            artifact=world / part,
            encoders=world / "encoders",
            metrics={},
            samples=file,
            config=PublishConfig(),
        )
        drawn = []
        for number, prompt in enumerate(([], ["a red ring"], ["a blue ring"])):
            out = tmp_path / f"{name}{number}.png"
            words = [str(file), *prompt, "--model", str(tmp_path / name), "--out", str(out)]
            assert upscale(words) == 0
            assert Image.open(out).size == (18, 22)
            drawn.append(out.read_bytes())
        assert len(set(drawn)) == 3
    words = [str(file), "a ring", "--model", str(world / "aura"), "--out", str(tmp_path / "x.png")]
    assert upscale(words) == 2
    assert "is told nothing of a picture" in capsys.readouterr().err


BAD = {
    "no picture": (["gone.png"], 3, "not readable"),
    "no image": (["text.png"], 3, "not an image"),
    "no upsampler": (["photo.png", "--model", "MODEL"], 2, "enlarges no pictures"),
    "batch": (["photo.png", "--batch", "0"], 2, "batch is 0"),
    "seed": (["photo.png", "--seed", "-1"], 2, "seed"),
    "suffix": (["photo.png", "--out", "x.tiff"], 2, "cannot save this as"),
    "exists": (["photo.png", "--out", "text.png"], 2, "exists"),
    "no model": (["photo.png", "--model", "gone"], 5, "there is no model"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_enlarged_is_one_line(
    world: Path, tmp_path: Path, capsys, monkeypatch, fault: str
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(tmp_path, 9, 9)
    (tmp_path / "text.png").write_text("no picture")
    words, code, says = BAD[fault]
    words = [str(world / "aurora") if word == "MODEL" else word for word in words]
    model = [] if "--model" in words else ["--model", str(world / "aura")]
    out = [] if "--out" in words else ["--out", "x.png"]
    assert upscale([*words, *model, *out]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photo.png", "text.png"]


def test_an_upsampler_alone_draws_nothing(world: Path, tmp_path: Path, capsys) -> None:
    words = ["--model", str(world / "aura"), "--out", str(tmp_path / "x.png")]
    assert generate_command(words) == 2
    assert "use ganline upscale" in capsys.readouterr().err
