"""`ganline cascade`, and what words do: published formats and models of our own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.artifacts.artifact import load_generator, read_card
from components.artifacts.family import recipe_from
from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.sampling import generate, mix
from models.gigagan.small import SMALL
from models.interfaces import ConditionShape
from models.text_to_image import TextToImage
from pipeline.commands.cascade import main as cascade
from pipeline.commands.generate import main as generate_command
from pipeline.commands.interpolate import main as interpolate
from pipeline.commands.mix import main as mix_command
from pipeline.commands.upscale import main as upscale
from pipeline.serving.bodies import Images
from pipeline.serving.models import Drawer
from tests.models.gigagan.published import (
    UP,
    own,
    photo,
    words_world,
    write_clip,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return words_world(tmp_path_factory.mktemp("words"))


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
    drawer = Drawer(tmp_path / "release")
    assert drawer.facts()["resolution_px"] == 64
    asked = Images(
        subjects=["a red ring"], seeds=[3], truncations=[1.0], noise="const", format="png"
    )
    (served,) = drawer.images(asked).result(timeout=60)
    drawer.queue.close()
    drawn = generate(load_release(tmp_path / "release")[0], ["a red ring"], [3])[0]
    assert np.abs(served.astype(int) - drawn).max() <= 1  # the fast form rounds otherwise
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
    "second": (["aurora", "aura", "aura"], 2, "the base makes 64 px and the upsampler takes 16"),
    "two bases": (["aurora", "base"], 2, "the upsampler is a base"),
    "two upsamplers": (["aura", "aura"], 2, "the base is a model of parts upsampler"),
    "texts": (["base", "wide"], 2, "base and upsampler differ in text_width"),
    "missing": (["gone", "aura"], 5, "card.json"),
    "itself": (["base", "up", "--out", "base", "--force"], 2, "is one of its parts"),
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


@pytest.fixture(scope="module")
def long(world: Path) -> Path:
    """Write upsamplers from 64 px and from 16 px, and the cascade 16 -> 64 -> 128 px."""
    told = ConditionShape(**read_card(world / "base")["shape"])
    own(world / "to_128", 128, ConditionShape(), parts="upsampler", base_px=64, **UP)
    own(world / "to_32", 32, told, parts="upsampler", base_px=16, **UP, up_z_dim=3)
    words = [str(world / name) for name in ("aurora", "aura", "to_128")]
    assert cascade([*words, "--out", str(world / "long")]) == 0
    return world


def test_several_upsamplers_draw_as_the_parts_one_after_the_other(
    long: Path, tmp_path: Path, capsys
) -> None:
    model, _ = load_release(long / "long")
    base, _ = load_release(long / "aurora")
    first, _ = load_generator(long / "aura")
    second, _ = load_generator(long / "to_128")
    z = torch.randn(2, model.generator.z_dim)
    condition = model.condition(["a red ring", "a blue ring"])
    code = base.generator.map(z[:, : base.generator.z_dim], condition)
    image = base.generator.synthesize(code, condition)
    for one in (first, second):
        image = one.upscale(image, z[:, : one.z_dim], condition)
    assert model.generator.resolution == 128
    ws = model.generator.map(z, condition)
    assert ws.shape[1] == base.generator.num_ws + 2
    assert torch.equal(model.generator.synthesize(ws, condition), image)
    drawn = str(tmp_path / "drawn.png")
    # The command draws it, and the last upsampler is the one that enlarges pictures.
    assert generate_command(["a ring", "--model", str(long / "long"), "--out", drawn]) == 0
    assert Image.open(drawn).size == (128, 128)
    file = str(photo(tmp_path, 70, 40))
    for name in ("long", "to_128"):
        words = [file, "--model", str(long / name), "--out", str(tmp_path / f"{name}.png")]
        assert upscale(words) == 0
    assert (tmp_path / "long.png").read_bytes() == (tmp_path / "to_128.png").read_bytes()


def test_a_cascade_gets_one_upsampler_more_or_gives_all_of_its_own(
    long: Path, tmp_path: Path, capsys
) -> None:
    def joined(out: str, *parts: Path) -> Path:
        assert cascade([*map(str, parts), "--out", str(tmp_path / out)]) == 0
        return tmp_path / out

    short = joined("short", long / "aurora", long / "aura")
    more = joined("more", short, long / "to_128")
    taken = joined("taken", long / "aurora", long / "long")
    said = capsys.readouterr().out
    assert said.count("licence of the base: research only") == 3
    whole = (long / "long" / "generator.safetensors").read_bytes()
    card = read_card(long / "long")
    assert list(card["joined_from"]) == ["base", "upsampler", "upsampler 2"]
    for folder in (more, taken):
        assert (folder / "generator.safetensors").read_bytes() == whole
        again = read_card(folder)
        assert again["joined_from"] == card["joined_from"]
        assert again["recipe"] == card["recipe"]


def test_each_upsampler_of_several_can_read_the_words(long: Path, tmp_path: Path) -> None:
    out, encoders = tmp_path / "told", ["--encoders", str(long / "encoders")]
    words = [str(long / name) for name in ("base", "up", "to_32")]
    assert cascade([*words, "--out", str(out), *encoders]) == 0
    fields = read_card(out)["recipe"]["fields"]
    assert fields["up_text"] is True
    assert fields["further"][0]["up_text"] is True
    model, _ = load_release(out)
    own_only, style_only = generate(model, ["a red ring", "a blue ring"], [0, 0])
    last = model.generator.num_ws - 1
    prompts = (["a red ring"], [0], ["a blue ring"], [0])
    fine = mix(model, *prompts, [last])[0]
    assert (fine != own_only).any()
    assert (fine != style_only).any()
    assert np.array_equal(mix(model, *prompts, list(range(last + 1)))[0], style_only)


def test_no_stage_trains_several_upsamplers() -> None:
    fields = {**SMALL, **UP, "parts": "cascade", "base_px": 8, "further": ({"up_dim": 6},)}
    recipe: Any = recipe_from({"name": "gigagan", **fields})
    network: Any = recipe.generator(32, ConditionShape(pooled_dim=4, token_dim=6))
    assert [one.tile_px for one in network.upsamplers] == [8, 16]
    assert network.resolution == 32
    (wrong,) = recipe.misfits("text", 32).values()
    assert wrong == (
        "got 1 of them; allowed: none, train each upsampler alone and join them by "
        "`ganline cascade`"
    )
