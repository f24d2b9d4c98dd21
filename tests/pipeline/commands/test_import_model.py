"""`ganline import`: the authors' files become artifacts that draw what the authors' code drew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from components.artifacts.artifact import GENERATOR, load_generator, load_start, read_card
from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from models.interfaces import Condition
from models.text_to_image import AlignedGenerator
from pipeline.commands.generate import main as generate
from pipeline.commands.import_model import main
from tests.models.interop.authors_files import (
    authors_modules,
    below,
    clip_tower,
    parity,
    persistent,
    plain,
    write_snapshot,
)
from tests.pipeline.trained_world import trained_world

TOLERANCE = 1e-4
STYLEGAN_T = "networks.generator.Generator"
FASTGAN = "pg_modules.networks_fastgan.Generator"


def stylegan_t_tensors(tower: bool = True) -> dict[str, Tensor]:
    mapping, synthesis = parity("stylegan_t_mapping"), parity("stylegan_t_synthesis")
    text_dim = synthesis.config["w_dim"] - mapping.config["z_dim"]
    tensors = {**below("mapping", mapping.param), **below("synthesis", synthesis.param)}
    return {**tensors, **(clip_tower(64, text_dim) if tower else {})}


def stylegan2_tensors() -> dict[str, Tensor]:
    return dict(parity("stylegan2_generator").param)


def fastgan_tensors() -> dict[str, Tensor]:
    return below("synthesis", parity("fastgan_synthesis").param)


GROUPS = {f"synthesis.b8.convs1.{i}.norm.num_groups": 8 for i in (1,)}


def zeros(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(x) for name, x in tensors.items()}


def imported(file: Path, *words: str) -> Path:
    """Import a file and return the artifact."""
    out = file.parent / f"{file.stem}-{len(list(file.parent.iterdir()))}"
    assert main([str(file), "--out", str(out), *words]) == 0
    return out


def agrees(ours: Tensor, theirs: Tensor) -> bool:
    bound = TOLERANCE * max(1.0, theirs.abs().max().item())
    return (ours.detach() - theirs).abs().max().item() <= bound


@pytest.fixture(scope="module")
def stylegan_t(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot as StyleGAN-T writes it: plain classes, text tower inside, G beside G_ema."""
    tensors, folder = stylegan_t_tensors(), tmp_path_factory.mktemp("stylegan_t")
    with authors_modules(STYLEGAN_T, "networks.discriminator.ProjectedDiscriminator"):
        heads = below("heads.0", parity("stylegan_t_disc_head_cond").param)
        return write_snapshot(
            folder / "network-snapshot.pkl",
            plain(STYLEGAN_T, tensors, GROUPS),
            plain("networks.discriminator.ProjectedDiscriminator", heads),
            raw=plain(STYLEGAN_T, zeros(tensors), GROUPS),
        )


def test_stylegan_t_draws_the_same(stylegan_t: Path, capsys) -> None:
    folder = imported(stylegan_t)
    said = capsys.readouterr().out
    assert "StyleGAN-T, 32 px, asked with text (16 wide)" in said
    # Its text is 32 wide, the generator's 16: what does not fit is left out, and said.
    assert "left out: the discriminator (the checkpoint does not fit" in said
    model, card = load_generator(folder)
    assert isinstance(model, AlignedGenerator)
    generator, file = model.generator, parity("stylegan_t_synthesis")
    for noise in ("const", "none"):
        image = generator.synthesize(file.input["ws"], Condition(), noise)
        assert agrees(image, file.output[f"img_{noise}"])
    mapping = parity("stylegan_t_mapping")
    for psi in (0.0, 0.7, 1.0):
        w = generator.mapping(mapping.input["z"], psi)
        assert agrees(w, mapping.output[f"w_psi{psi}"][:, 0])
    tower = clip_tower(64, 16)
    for name, tensor in model.text_encoder.network.state_dict().items():
        assert torch.equal(tensor, tower[f"mapping.clip.model.{name}"]), name
    digest = hashlib.sha256(stylegan_t.read_bytes()).hexdigest()
    assert card["imported_from"]["sha256"] == digest
    assert card["imported_from"]["file"] == "network-snapshot.pkl"


def test_an_imported_model_samples_starts_a_stage_and_is_released(
    stylegan_t: Path, tmp_path: Path
) -> None:
    folder = imported(stylegan_t)
    words = ["a red ring", "--model", str(folder), "--seeds", "0-1"]
    assert generate([*words, "--out", str(tmp_path / "pictures")]) == 0
    row = json.loads((tmp_path / "pictures" / "index.jsonl").read_text().splitlines()[0])
    start = load_start(folder)
    assert start.text_encoder is not None
    Image.new("RGB", (8, 8)).save(tmp_path / "samples.png")
    release = write_release(
        tmp_path / "release",
        artifact=folder,
        encoders=tmp_path / "none",
        metrics={},
        samples=tmp_path / "samples.png",
        config=PublishConfig(),
    )
    _, card = load_release(tmp_path / "release")
    assert row["model"] != card["release"]["content_hash"] == release["release"]["content_hash"]
    text = (tmp_path / "release" / "MODEL_CARD.md").read_text()
    assert "- imported from network-snapshot.pkl (StyleGAN-T, sha256" in text
    words[2] = str(tmp_path / "release")
    assert generate([*words, "--out", str(tmp_path / "again")]) == 0
    names = sorted(p.name for p in (tmp_path / "pictures").glob("*.png"))
    for name in names:
        first, second = tmp_path / "pictures" / name, tmp_path / "again" / name
        assert first.read_bytes() == second.read_bytes()


def test_text_without_an_encoder_asks_for_one(tmp_path: Path, capsys) -> None:
    file, out = tmp_path / "bare.safetensors", tmp_path / "out"
    save_file(stylegan_t_tensors(tower=False), file)
    words = [str(file), "--out", str(out), "--set", "group_norm_groups=8"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the file has no text encoder" in line
    assert "give --encoders DIR, whose clip embeds text in 16 numbers" in line
    assert not out.exists()
    world = trained_world(tmp_path / "world")
    encoders = world / "artifacts" / "encoders"
    assert main([*words, "--encoders", str(encoders)]) == 0
    clip = json.loads((encoders / "clip" / "card.json").read_text())["sha256"]
    assert read_card(out)["encoders"] == {"clip": clip}
    assert generate(["a red ring", "--model", str(out), "--out", str(tmp_path / "x.png")]) == 5
    assert "run ganline publish first" in capsys.readouterr().err
    card = json.loads((encoders / "clip" / "card.json").read_text())
    card["architecture"]["embed_dim"] = 15
    (encoders / "clip" / "card.json").write_text(json.dumps(card))
    assert main([*words, "--force", "--encoders", str(encoders)]) == 2
    assert "that CLIP embeds text in 15 numbers" in capsys.readouterr().err


def fastgan_file(folder: Path, kind: str) -> Path:
    """Write the FastGAN generator of the parity file in a container."""
    tensors, file = fastgan_tensors(), folder / f"fastgan.{kind}"
    if kind == "pkl":
        with authors_modules(FASTGAN):
            facts = {"img_resolution": 128, "c_dim": 0, "z_dim": 16}
            return write_snapshot(file, plain(FASTGAN, tensors, facts), protocol=2)
    if kind == "safetensors":
        save_file(tensors, file)
    else:
        torch.save(tensors, file, _use_new_zipfile_serialization=kind == "pt")
    return file


@pytest.mark.parametrize("kind", ["pkl", "pt", "pth", "safetensors"])
def test_fastgan_draws_the_same_from_every_container(tmp_path: Path, kind: str, capsys) -> None:
    folder = imported(fastgan_file(tmp_path, kind))
    assert "FastGAN, 128 px, asked with nothing else" in capsys.readouterr().out
    generator, card = load_generator(folder)
    file = parity("fastgan_synthesis")
    ws = generator.map(file.input["z"], Condition())
    assert agrees(generator.synthesize(ws, Condition(), "none"), file.output["img"])
    assert card["recipe"]["fields"]["generator_network"] == "fastgan"
    again = imported(tmp_path / f"fastgan.{kind}")
    assert (again / GENERATOR).read_bytes() == (folder / GENERATOR).read_bytes()


@pytest.mark.parametrize("clamp", [None, 256, "unknown"])
def test_stylegan2_draws_the_same(tmp_path: Path, clamp: Any, capsys) -> None:
    tensors, file = stylegan2_tensors(), tmp_path / "ffhq.pkl"
    if clamp == "unknown":
        file = tmp_path / "ffhq.pt"
        torch.save({"g_ema": tensors}, file)
    else:
        with authors_modules():
            facts = {"synthesis.b4.conv1.conv_clamp": clamp, "mapping.w_avg_beta": 0.995}
            network = persistent(tensors, facts, {"z_dim": 32, "synthesis_kwargs": {}})
            write_snapshot(file, network, persistent({"b32.fromrgb.weight": torch.zeros(2)}))
    folder = imported(file)
    said = capsys.readouterr().out
    assert ("assumed, the file does not tell: activations clamped" in said) == (clamp == "unknown")
    assert ("left out: the discriminator" in said) == (clamp != "unknown")
    generator, card = load_generator(folder)
    wanted = {None: 0.0, 256: 256.0, "unknown": 256.0}[clamp]
    assert card["recipe"]["fields"]["activation_clamp"] == wanted
    fixture = parity("stylegan2_generator")
    for psi in (0.6, 1.0):
        ws = generator.map(fixture.input["z"], Condition(), psi)
        assert agrees(ws, fixture.output[f"ws_psi{psi}"])
        image = generator.synthesize(ws, Condition())
        assert agrees(image, fixture.output[f"img_psi{psi}"])
    assert generate(["--model", str(folder), "--out", str(tmp_path / "x.png")]) == 0


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.pop(name)


BAD: dict[str, tuple[Callable[[dict[str, Tensor]], object], list[str], int, str]] = {
    "missing tensor": (without("synthesis.b8.conv1.bias"), [], 5, "missing (our names): synthesis"),
    "another tensor": (lambda t: t.update({"synthesis.b8.x": torch.ones(1)}), [], 5, "unknown: "),
    "NaN": (
        lambda t: t["synthesis.b8.conv1.bias"].fill_(float("nan")),
        [],
        5,
        "NaN or infinity in the generator: synthesis.blocks.8",
    ),
    "no rule": (
        lambda t: t.update({"synthesis.b8.torgb.weight": torch.ones(3, 47, 1, 1)}),
        [],
        5,
        "widths that follow no rule of ours",
    ),
    "grey": (
        lambda t: t.update({"synthesis.b4.torgb.weight": torch.ones(1, 48, 1, 1)}),
        [],
        5,
        "images of 1 channels",
    ),
    "resnet": (without("synthesis.b4.torgb.weight"), [], 5, "orig or resnet"),
    "another family": (without("synthesis.b4.const"), [], 5, "none of StyleGAN-T, FastGAN"),
    "another size": (lambda t: None, ["--resolution", "64"], 5, "have 32 px, not 64"),
    "unknown field": (lambda t: None, ["--set", "mean_beat=1"], 2, "did you mean mean_beta?"),
    "wrong value": (lambda t: None, ["--set", "mean_beta=big"], 2, "mean_beta: "),
    "no field": (lambda t: None, ["--set", "mean_beta"], 2, "write --set FIELD=VALUE"),
    "names": (lambda t: None, ["--labels", "LABELS"], 2, "2 names for 0 classes"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_does_not_fit_is_one_line(tmp_path: Path, capsys, fault: str) -> None:
    change, words, code, says = BAD[fault]
    tensors, file, out = stylegan2_tensors(), tmp_path / "x.pt", tmp_path / "out"
    change(tensors)
    torch.save(tensors, file)
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    words = [str(tmp_path / "labels.txt") if word == "LABELS" else word for word in words]
    assert main([str(file), "--out", str(out), *words]) == code
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert said.out == ""
    assert says in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["labels.txt", "x.pt"]


def test_an_artifact_is_not_replaced_unasked(tmp_path: Path, capsys) -> None:
    file, out = fastgan_file(tmp_path, "pt"), tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("kept")
    assert main([str(file), "--out", str(out)]) == 2
    assert "add --force" in capsys.readouterr().err
    assert (out / "mine").read_text() == "kept"
    assert main([str(file), "--out", str(out), "--force"]) == 0
    assert read_card(out)["resolution_px"] == 128
    assert main([str(tmp_path / "gone.pkl"), "--out", str(tmp_path / "b")]) == 5
    assert "there is no such file" in capsys.readouterr().err


def test_what_a_state_dict_does_not_tell_is_asked_for(tmp_path: Path, capsys) -> None:
    """All blocks up to 256 px are there, and the widths at 32 and 64 px are the same."""
    tensors = {n: x for n, x in fastgan_tensors().items() if "to_big" not in n}
    for part, shape in (("weight_orig", (3, 8, 3, 3)), ("weight_u", (3,)), ("weight_v", (72,))):
        tensors[f"synthesis.to_big.{part}"] = torch.ones(shape)
    tensors["synthesis.to_big.bias"] = torch.zeros(3)
    file = tmp_path / "fastgan.pt"
    torch.save(tensors, file)
    assert main([str(file), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not in the file (32 or 64)" in line
    assert "give --resolution" in line
    for size in (32, 64):
        out = tmp_path / str(size)
        assert main([str(file), "--out", str(out), "--resolution", str(size)]) == 0
        assert read_card(out)["resolution_px"] == size
