"""`ganline import` of the two published networks of the kind that reads words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.artifacts.artifact import load_generator, read_card
from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from models.interfaces import Condition
from pipeline.commands.generate import main as generate
from pipeline.commands.import_model import main
from tests.models.gigagan.published import (
    EMBEDDING,
    HEADS,
    aura,
    aura_file,
    aurora,
    aurora_file,
    write_clip,
)

TOLERANCE = 1e-4
LICENCE = ["--licence", "research only"]


def agrees(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    bound = TOLERANCE * max(1.0, theirs.abs().max().item())
    return (ours.detach() - theirs).abs().max().item() <= bound


def test_aurora_draws_what_its_code_drew(tmp_path: Path, capsys) -> None:
    file, out = aurora_file(tmp_path), tmp_path / "out"
    words = [str(file), "--out", str(out), *LICENCE, *HEADS]
    encoders = write_clip(tmp_path / "encoders")
    assert main([*words, "--encoders", str(encoders)]) == 0
    said = capsys.readouterr().out
    assert "Aurora, 16 px, asked with text (10 wide)" in said
    assert "took generator_smooth, the averaged generator" in said
    assert "assumed, the file does not tell: 2 heads" not in said
    card = read_card(out)
    assert card["imported_from"]["licence"] == "research only"
    assert card["shape"]["token_dim"] == aurora().config["clip_out_dim"]
    assert card["shape"]["pooled_dim"] == EMBEDDING
    model, _ = load_generator(out)
    fixture = aurora()
    generator: Any = model.generator
    tokens, ends = fixture.input["text_features"], fixture.input["eot_index"]
    count = tokens.shape[1]
    mask = torch.arange(count)[None] <= ends[:, None]
    condition = Condition(tokens_NTD=tokens, mask_NT=mask)
    ws = generator.map(fixture.input["z"], condition)
    assert agrees(ws[:, 0], fixture.output["w"])
    assert agrees(generator.synthesize(ws, condition), fixture.output["img"])


def test_an_imported_model_of_words_draws_by_itself_and_is_released(tmp_path: Path, capsys) -> None:
    out, encoders = tmp_path / "out", write_clip(tmp_path / "encoders")
    words = [str(aurora_file(tmp_path)), *LICENCE, *HEADS]
    assert main([*words, "--out", str(out), "--encoders", str(encoders)]) == 0
    asked = ["a red ring", "--seeds", "0-1", "--psi", "0.7"]
    assert generate([*asked, "--model", str(out), "--out", str(tmp_path / "one")]) == 0
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "samples.png")
    write_release(
        tmp_path / "release",
        artifact=out,
        encoders=tmp_path / "none",
        metrics={},
        samples=tmp_path / "samples.png",
        config=PublishConfig(),
    )
    text = (tmp_path / "release" / "MODEL_CARD.md").read_text()
    assert "- licence of that file: research only" in text
    load_release(tmp_path / "release")
    released = ["--model", str(tmp_path / "release"), "--out", str(tmp_path / "two")]
    assert generate([*asked, *released]) == 0
    for path in (tmp_path / "one").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_aurora_asks_for_a_licence_and_for_the_right_words(tmp_path: Path, capsys) -> None:
    file, out = aurora_file(tmp_path), tmp_path / "out"
    words = [str(file), "--out", str(out), *HEADS]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not name its licence" in line
    assert "give --licence NAME" in line
    assert main([*words, *LICENCE]) == 2
    assert "whose clip has words of 6 numbers" in capsys.readouterr().err
    other = write_clip(tmp_path / "other", width=8)
    assert main([*words, *LICENCE, "--encoders", str(other)]) == 2
    assert "that CLIP has words of 8 numbers" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("told", [True, False])
def test_aura_sr_enlarges_as_its_code_did(tmp_path: Path, told: bool, capsys) -> None:
    fixture = aura()
    heads = [] if told else ["--resolution", "32", "--set", "up_heads=2", "--set", "up_head_dim=4"]
    file = aura_file(tmp_path / "aura", None if told else "")
    out = tmp_path / "out"
    assert main([str(file), "--out", str(out), "--licence", "CC-BY-SA-4.0", *heads]) == 0
    said = capsys.readouterr().out
    assert "AuraSR, 32 px, asked with nothing else" in said
    assert ("no config.json beside it: skips times 0.4" in said) != told
    model, card = load_generator(out)
    assert card["imported_from"]["licence"] == "CC-BY-SA-4.0"
    image = fixture.input["image_uint8"]
    strips = model.strips(image, fixture.input["noise"], Condition(), blend="smooth")
    large = torch.cat(list(strips), dim=1)
    assert agrees(large / 2 + 0.5, fixture.output["overlapped_checkboard"])
    assert generate(["--model", str(out), "--out", str(tmp_path / "x.png")]) == 2
    assert "use ganline upscale" in capsys.readouterr().err


Change = Callable[[dict[str, Any]], object]
BAD_CONFIG: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "config.json is no JSON"),
    "a list": ("[1]", "config.json holds no object"),
    "deep": ("[" * 100_000, "config.json is no JSON"),
    "long": (" " * (2**20 + 1), "longer than"),
    "a huge number": ('{"dim": 1' + "0" * 5000 + "}", "a number of 5001 digits"),
    "a large number": ('{"dim": 10000000000}', "the number 10000000000"),
    "NaN": ('{"skip_connect_scale": NaN}', "the number NaN"),
    "text": ({"dim": "4"}, 'dim is "4", wanted a whole number from 1'),
    "true": ({"dim": True}, "dim is true, wanted a whole number"),
    "null": ({"self_attn_heads": None}, "self_attn_heads is nothing, wanted a whole number"),
    "negative": ({"mid_attn_depth": -1}, "wanted a whole number from 0"),
    "style": ({"style_network": [128]}, "style_network is [128], wanted an object"),
    "lists": ({"up_dim_mults": 4}, "wanted a list of whole numbers"),
    "switches": ({"full_attn": [1, 0, 0]}, "wanted a list of true and false"),
    "lengths": ({"attn_depths": [1]}, "3 full_attn and 1 attn_depths"),
    "another width": ({"dim": 8}, "config.json and the tensors differ in up_dim: 8 and 4"),
    "another depth": ({"mid_attn_depth": 2}, "differ in up_middle_depth: 2 and 1"),
    "another z": ({"style_network": {"dim_in": 64}}, "differ in up_z_dim: 64 and 128"),
    "heads": ({"self_attn_heads": 3}, "attention 8 wide does not split into 3 heads"),
    "head width": ({"self_attn_dim_head": 8}, "2 heads of 8, the tensors are 8 wide"),
    "factor": ({"image_size": 64}, "8 px become 64, the tensors make 4 times"),
    "tile": ({"input_image_size": 7, "image_size": 28}, "7 px cannot be halved 1 times"),
    "text model": ({"unconditional": False}, "wanted the published true"),
}


@pytest.mark.parametrize("fault", BAD_CONFIG)
def test_a_wrong_config_is_one_line(tmp_path: Path, capsys, fault: str) -> None:
    config, says = BAD_CONFIG[fault]
    if isinstance(config, dict):
        config = {**aura().config, **config}
    file = aura_file(tmp_path / "aura", config)
    assert main([str(file), "--out", str(tmp_path / "out"), *LICENCE]) == 5
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert says in line
    assert not (tmp_path / "out").exists()


BAD_AURA: dict[str, tuple[dict[str, Any], str]] = {
    "no tensor": ({"init_conv.bias": None}, "missing (our names): enter.bias"),
    "no style": ({"style_network.net.0.weight": None}, "no tensor style_network.net.0.weight"),
    "axes": ({"final_to_rgb.weight": torch.ones(3)}, "final_to_rgb.weight is [3], wanted 4 axes"),
    "empty": ({"final_to_rgb.weight": torch.ones(3, 0, 1, 1)}, "wanted 4 axes"),
    "widths": ({"final_to_rgb.weight": torch.ones(3, 3, 1, 1)}, "no multiples of the last one, 3"),
    "no way down": ({"downs.0.1.1.weight": None}, "0 stages down and 3 up"),
    "no block": ({"ups.0.0.0.block1.proj.weights": None}, "no tensor ups.0.0.0.block1"),
    "more": ({"ups.0.0.0.block3.proj.weights": torch.ones(1)}, "unknown: ups.0.0.0.block3"),
    "kernels": ({"mid_block1.block1.proj.weights": torch.ones(9, 8, 8, 3, 3)}, "up_kernels"),
    "NaN": ({"init_conv.bias": torch.full((8,), torch.nan)}, "NaN or infinity in the generator"),
    "type": ({"init_conv.bias": torch.ones(8, dtype=torch.int64)}, "init_conv.bias"),
}


@pytest.mark.parametrize("fault", BAD_AURA)
def test_a_wrong_upsampler_is_one_line(tmp_path: Path, capsys, fault: str) -> None:
    changes, says = BAD_AURA[fault]
    file = aura_file(tmp_path / "aura", **changes)
    code = main([str(file), "--out", str(tmp_path / "out"), *LICENCE])
    (line,) = capsys.readouterr().err.splitlines()
    assert (code, says in line) == (5, True), line


NET = "synthesis.net."
GROWTH = [(2, "conv1.filter"), (3, "proj_in.weight"), (4, "conv1.filter")]
BAD_AURORA: dict[str, tuple[dict[str, Any], str]] = {
    "no tensor": ({f"{NET}1.0.conv1.bias": None}, "missing (our names): synthesis.layers.1"),
    "text": ({"mapping.dense0.weight": torch.ones(12, 8)}, "8 numbers, of which 8 are the text's"),
    "axes": ({"synthesis.output_res_8x8.weight": torch.ones(3, 32)}, "wanted 5 axes"),
    "no picture": ({"synthesis.output_res_8x8.weight": None}, "no tensor synthesis.output_res_8x8"),
    "no growth": (
        {f"{NET}{i}.0.{x}": None for i, x in GROWTH},
        "no block doubles the 4 px",
    ),
    "order": ({f"{NET}2.0.conv1.filter": None}, "net.3 attends out of turn"),
    "attention": ({f"{NET}3.0.proj_in.weight": None}, "none of"),
    "twins": (
        {"text_head.transformer.res_blocks.0.c_fc.bias": torch.full((32,), 7.0)},
        "text_head.transformer.res_blocks.0.c_fc.bias and",
    ),
    "shape": ({f"{NET}1.0.conv1.bias": torch.ones(31)}, "of another shape: synthesis.net.1"),
    "huge": ({f"{NET}1.0.conv1.bias": torch.ones(1).expand(10**9)}, "refused a tensor"),
    "huge widths": (
        {f"{NET}3.0.proj_in.weight": torch.ones(1).expand(2**31, 32, 1, 1)},
        "refused a tensor of [2147483648, 32, 1, 1]",
    ),
}


@pytest.mark.parametrize("fault", BAD_AURORA)
def test_a_wrong_generator_is_one_line(tmp_path: Path, capsys, fault: str) -> None:
    changes, says = BAD_AURORA[fault]
    tensors = dict(aurora().param)
    for name, value in changes.items():
        tensors.pop(name) if value is None else tensors.update({name: value})
    if fault == "attention":
        tensors = {"text_head.align_dim.weight": torch.ones(8, 6), "x.y": torch.ones(1)}
    file = tmp_path / "aurora.pth"
    torch.save({"generator_smooth": tensors}, file)
    code = main([str(file), "--out", str(tmp_path / "out"), *LICENCE, *HEADS])
    (line,) = capsys.readouterr().err.splitlines()
    assert (code, says in line) == (5, True), line


def test_a_licence_is_one_short_line(tmp_path: Path, capsys) -> None:
    file = aura_file(tmp_path / "aura")
    for licence in ("x" * 201, "a\nb", "\x1b[2J"):
        assert main([str(file), "--out", str(tmp_path / "out"), "--licence", licence]) == 2
        assert "--licence" in capsys.readouterr().err
    unread = {**aura().config, "colour": "red", "more": {"a": 1}}
    (file.parent / "config.json").write_text(json.dumps(unread))
    assert main([str(file), "--out", str(tmp_path / "out"), *LICENCE]) == 0
    assert "not read of config.json: colour, more" in capsys.readouterr().out
