"""`ganline upscale` and `ganline cascade`, with the published formats and with our models."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.artifacts.artifact import load_generator, read_card, write_artifact
from components.artifacts.family import recipe_from
from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.pictures.png_rows import write_png_rows
from components.sampling import generate, mix
from models.gigagan.fields import SMALL
from models.interfaces import ConditionShape
from models.text_to_image import TextToImage
from pipeline.commands.cascade import main as cascade
from pipeline.commands.generate import main as generate_command
from pipeline.commands.import_model import main as import_model
from pipeline.commands.mix import main as mix_command
from pipeline.commands.upscale import main as upscale
from tests.models.gigagan.published import (
    EMBEDDING,
    HEADS,
    aura,
    aura_file,
    aurora,
    aurora_file,
    write_clip,
)

UP = {
    "up_dim": 4,
    "up_mults": (1, 2),
    "up_down_mults": (2,),
    "up_attention_depths": (0, 1),
    "up_middle_depth": 1,
    "up_kernels": 2,
    "up_blocks": 1,
    "up_heads": 2,
    "up_style_dim": 8,
    "up_style_layers": 2,
    "up_text_depth": 1,
}
CLIP = {"words": "last", "vision_weight": 0.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders, both published networks imported, and models of our own that were not trained."""
    folder = tmp_path_factory.mktemp("words")
    write_clip(folder / "encoders")
    # Its tile is the base's picture, and its noise vector has room in the base's code.
    config = {**aura().config, "input_image_size": 16, "image_size": 64}
    config["style_network"] = {**config["style_network"], "dim_in": 8}
    first = "style_network.net.0.weight"
    file = aura_file(folder / "published", config, **{first: aura().param[first][:, :8]})
    licence = ["--licence", "CC-BY-SA-4.0"]
    assert import_model([str(file), "--out", str(folder / "aura"), *licence]) == 0
    words = [str(aurora_file(folder)), *HEADS, "--licence", "research only"]
    words += ["--encoders", str(folder / "encoders"), "--out", str(folder / "aurora")]
    assert import_model(words) == 0
    shape = ConditionShape(pooled_dim=EMBEDDING, token_dim=aurora().config["clip_out_dim"])
    for name, size, fields in (
        ("base", 8, {}),
        ("up", 16, {"parts": "upsampler", "base_px": 8, **UP}),
        ("both", 16, {"parts": "cascade", "base_px": 8, **UP}),
        ("wide", 16, {"parts": "upsampler", "base_px": 8, **UP, "text_width": 4}),
    ):
        own(folder / name, size, shape, **fields)
    return folder


def own(folder: Path, size: int, shape: ConditionShape, **fields: Any) -> None:
    recipe = recipe_from({"name": "gigagan", **SMALL, **CLIP, **fields})
    torch.manual_seed(5)
    state = recipe.generator(size, shape).state_dict()
    card = json.loads((folder.parent / "encoders" / "clip" / "card.json").read_text())
    write_artifact(
        folder,
        recipe=recipe,
        resolution=size,
        shape=shape,
        generator_state={n: x + 0.1 * torch.randn_like(x) for n, x in state.items()},
        nimg=7,
        seed=0,
        encoders={"clip": card["sha256"]},
    )


def photo(folder: Path, width: int, height: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path = folder / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


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


def test_the_two_published_networks_become_one_model(world: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "cascade"
    words = [str(world / "aurora"), str(world / "aura"), "--out", str(out)]
    assert cascade(words) == 0
    said = capsys.readouterr().out
    assert "16 px" in said
    assert "become 64 px" in said
    assert "licence of the upsampler: CC-BY-SA-4.0" in said
    assert cascade(words) == 2
    assert "add --force" in capsys.readouterr().err
    again = tmp_path / "again"
    assert cascade([*words[:2], "--out", str(again)]) == 0
    for name in ("generator.safetensors", "card.json"):
        assert (out / name).read_bytes() == (again / name).read_bytes()
    card = read_card(out)
    assert card["joined_from"]["base"]["imported_from"]["licence"] == "research only"
    picture = tmp_path / "ring.png"
    assert generate_command(["a red ring", "--model", str(out), "--out", str(picture)]) == 0
    assert Image.open(picture).size == (64, 64)
    # It is what the two draw one after the other.
    model, _ = load_release(out)
    base, _ = load_release(world / "aurora")
    alone, _ = load_generator(world / "aura")
    z = torch.randn(1, model.generator.z_dim)
    condition = model.condition(["a red ring"])
    ws = model.generator.map(z, condition)
    small_z = z[:, : base.generator.z_dim]
    small = base.generator.synthesize(base.generator.map(small_z, condition), condition)
    large = alone.upscale(small, z[:, : alone.z_dim], condition)
    torch.testing.assert_close(model.generator.synthesize(ws, condition), large)


def test_a_cascade_is_published_and_walked_and_upscales(world: Path, tmp_path: Path) -> None:
    from pipeline.commands.interpolate import main as interpolate

    out, file = tmp_path / "cascade", photo(tmp_path, 20, 20)
    assert cascade([str(world / "aurora"), str(world / "aura"), "--out", str(out)]) == 0
    write_release(
        tmp_path / "release",
        artifact=out,
        encoders=world / "encoders",
        metrics={},
        samples=file,
        config=PublishConfig(),
    )
    text = (tmp_path / "release" / "MODEL_CARD.md").read_text()
    assert "- licence of that file: research only" in text
    assert "licence CC-BY-SA-4.0)" in text
    release = ["--model", str(tmp_path / "release")]
    prompts = ["a red ring", "a blue ring", "--frames", "3"]
    assert interpolate([*prompts, *release, "--out", str(tmp_path / "walk")]) == 0
    assert len(list((tmp_path / "walk").glob("*.png"))) == 3
    big = tmp_path / "big.png"
    assert upscale([str(file), *release, "--out", str(big)]) == 0
    words = [str(file), "--model", str(world / "aura"), "--out", str(tmp_path / "alone.png")]
    assert upscale(words) == 0
    assert big.read_bytes() == (tmp_path / "alone.png").read_bytes()


def test_ours_join_too_and_of_a_cascade_the_upsampler_is_taken(
    world: Path, tmp_path: Path, capsys
) -> None:
    encoders = ["--encoders", str(world / "encoders")]
    for name, more in (("up", encoders), ("both", [])):
        out = tmp_path / name
        assert cascade([str(world / "base"), str(world / name), "--out", str(out), *more]) == 0
        asked = ["a red ring", "--model", str(out), "--out", str(tmp_path / f"{name}.png")]
        assert generate_command(asked) == (0 if more else 5)
        assert read_card(out)["recipe"]["fields"]["up_text"] is True
    capsys.readouterr()
    other = write_clip(tmp_path / "other", width=8)
    words = [str(world / "base"), str(world / "up"), "--out", str(tmp_path / "x")]
    assert cascade([*words, "--encoders", str(other)]) == 2
    assert "give the CLIP that the base was trained with" in capsys.readouterr().err


APART = {
    "sizes": (["base", "aura"], 2, "the base makes 8 px and the upsampler takes 16 px"),
    "two bases": (["aurora", "base"], 2, "the upsampler is a base"),
    "two upsamplers": (["aura", "aura"], 2, "the base is a model of parts upsampler"),
    "texts": (["base", "wide"], 2, "base and upsampler differ in text_width"),
    "missing": (["gone", "aura"], 5, "card.json"),
    "itself": (["base", "up", "--out", "base", "--force"], 2, "is one of the two"),
}


@pytest.mark.parametrize("fault", APART)
def test_what_does_not_fit_together_is_one_line(
    world: Path, tmp_path: Path, capsys, fault: str
) -> None:
    words, code, says = APART[fault]
    words = [w if w.startswith("--") else str(world / w) for w in words]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    assert cascade([*words, *out]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not list(tmp_path.iterdir())


def test_layers_read_the_words_of_the_second_prompt(world: Path, tmp_path: Path) -> None:
    model, _ = load_release(world / "aurora")
    prompts = ["a red ring", "a blue ring"]
    own_only, style_only = generate(model, prompts, [0, 0])
    layers = model.generator.num_ws

    def mixed(chosen: list[int]) -> np.ndarray:
        return mix(model, prompts[:1], [0], prompts[1:], [0], chosen)[0]

    assert np.array_equal(mixed(list(range(layers))), style_only)
    blocks = [type(layer).__name__ for layer in model.generator.synthesis.layers]
    last = blocks.index("AttentionBlock", blocks.index("AttentionBlock") + 1)
    fine = mixed([last])
    assert (fine != own_only).any()
    assert (fine != style_only).any()
    # Only the words differ: with the style's code and the own words it is another image.
    condition = model.condition(prompts)
    ws = model.generator.map(torch.zeros(2, model.generator.z_dim), condition)
    with_words = model.generator.synthesize_mixed(ws[:1], condition[:1], condition[1:], [last])
    with_own = model.generator.synthesize(ws[:1], condition[:1])
    assert not torch.equal(with_words, with_own)
    out = tmp_path / "mix.png"
    words = [*prompts, "--rows", "0", "--cols", "1", "--mix-layers", f"{last}", "--out", str(out)]
    assert mix_command([*words, "--model", str(world / "aurora")]) == 0


def test_a_long_prompt_is_drawn_and_what_is_not_read_is_told(
    world: Path, tmp_path: Path, capsys
) -> None:
    words = ["--model", str(world / "aurora"), "--out", str(tmp_path / "long")]
    assert generate_command(["a red ring a blue ring a red", "a ring", *words]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "note: 1 of 2 prompts cut at 7 tokens, not read: the last 3 of "
        "'a red ring a blue ring a red'..."
    )
    assert generate_command(["a red ring a blue", *words, "--force"]) == 0
    assert capsys.readouterr().err == ""
    model, _ = load_release(world / "aurora")
    assert isinstance(model, TextToImage)
    assert model.surplus(["a", "a red ring a blue ring"]) == [0, 1]


def test_rows_of_a_png_are_read_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (70, 33, 3), dtype=np.uint8)
    strips = (pixels[start : start + 13] for start in range(0, 70, 13))
    write_png_rows(tmp_path / "x.png", 33, 70, strips)
    found = Image.open(tmp_path / "x.png")
    found.verify()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), pixels)


def test_fields_of_an_upsampler_can_stand_apart_from_the_base() -> None:
    fields = {**SMALL, **UP, "parts": "cascade", "base_px": 8, "up_z_dim": 5, "up_head_dim": 3}
    recipe = recipe_from({"name": "gigagan", **fields, "up_text": False})
    shape = ConditionShape(pooled_dim=4, token_dim=6)
    network: Any = recipe.generator(16, shape)
    assert network.upsampler.z_dim == 5
    assert network.upsampler.text.dim == 0
    told: Any = dataclasses.replace(recipe, up_text=True).generator(16, shape)  # type: ignore[type-var]
    assert told.upsampler.text.dim == SMALL["text_width"]
    assert told.upsampler.network.middle[0].to_qkv.weight.shape[0] == 3 * 2 * 3
