"""StyleGAN2 in rosinality's layout: a rename, checked against the numbers of the published code."""

import argparse
import re

import torch

from components.artifacts.artifact import load_generator, read_card
from models.interfaces import Condition, ConditionShape
from models.interop.names import rename
from models.stylegan2 import rosinality
from models.stylegan2.generator import StyleGAN2Generator
from pipeline.commands.import_model import main
from tests.models.interop.authors_files import parity


def renamed(name, x):
    """Return the name and shape that the layout gives a published tensor, from its description."""
    if match := re.fullmatch(r"mapping\.fc(\d+)\.(\w+)", name):
        return f"style.{int(match[1]) + 1}.{match[2]}", x
    if name == "mapping.w_avg":
        return "latent_avg", x
    if name == "synthesis.b4.const":
        return "input.input", x[None]
    size, layer, rest = re.fullmatch(r"synthesis\.b(\d+)\.(\w+)\.?(.*)", name).groups()
    j = {4: -1, 8: 0, 16: 1, 32: 2}[int(size)]
    if layer == "resample_filter":
        return (f"to_rgbs.{j}.upsample.kernel", x * 4) if j >= 0 else (None, x)
    half = 1 if layer == "conv1" else 0
    ours = {"conv0": f"convs.{2 * j}", "conv1": f"convs.{2 * j + 1}", "torgb": f"to_rgbs.{j}"}[
        layer
    ]
    if j < 0:
        ours = {"conv1": "conv1", "torgb": "to_rgb1"}[layer]
    if rest == "resample_filter":
        return (f"{ours}.conv.blur.kernel", x * 4) if layer == "conv0" else (None, x)
    if rest == "weight":
        return f"{ours}.conv.weight", x[None]
    if rest.startswith("affine"):
        return f"{ours}.conv.modulation.{rest.split('.')[1]}", x
    if rest == "noise_strength":
        return f"{ours}.noise.weight", x[None]
    if rest == "noise_const":
        number = 0 if j < 0 else 2 * j + half + 1
        return f"noises.noise_{number}", x[None, None]
    assert rest == "bias"
    return (
        (f"{ours}.bias", x[None, :, None, None])
        if layer == "torgb"
        else (f"{ours}.activate.bias", x)
    )


def tensors():
    pairs = [renamed(name, x) for name, x in parity("stylegan2_generator").param.items()]
    found = {name: x.clone() for name, x in pairs if name}
    return found, found.pop("latent_avg")


def imported(folder, content, *words):
    torch.save(content, folder / "ffhq.pt")
    assert main([str(folder / "ffhq.pt"), "--out", str(folder / "art"), *words]) == 0
    return load_generator(folder / "art")


def test_a_converted_file_draws_what_the_published_code_drew(tmp_path, capsys):
    network, mean = tensors()
    generator, card = imported(tmp_path, {"g_ema": network, "latent_avg": mean})
    file = parity("stylegan2_generator")
    for name in ("img_psi1.0", "img_psi0.6"):
        psi = float(name.removeprefix("img_psi"))
        image = generator.synthesize(generator.map(file.input["z"], Condition(), psi), Condition())
        theirs = file.output[name]
        assert (image - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    assert card["resolution_px"] == 32
    assert "rosinality" in capsys.readouterr().out


def test_a_snapshot_of_its_training_has_no_mean_and_gets_one(tmp_path, capsys):
    network, _ = tensors()
    network = {n: x for n, x in network.items() if not n.startswith("noises.")}
    options = argparse.Namespace(size=32)
    content = {"g": network, "d": {}, "g_ema": network, "args": options, "ada_aug_p": 0.1}
    generator, _ = imported(tmp_path, content)
    said = capsys.readouterr().out
    assert "4096 samples" in said and "noise is drawn anew" in said
    z = torch.randn(20_000, generator.z_dim, generator=torch.Generator().manual_seed(9))
    mean = generator.mapping(z).mean(dim=0)
    spread = generator.mapping(z).std(dim=0)
    # Means of 4,096 and of 20,000 samples agree within five standard errors.
    assert ((generator.mapping.mean.value - mean).abs() < 5 * spread / 58).all()


def test_the_wrong_size_is_refused_with_the_one_that_fits(tmp_path, capsys):
    network, mean = tensors()
    torch.save({"g_ema": network, "latent_avg": mean}, tmp_path / "a.pt")
    words = [str(tmp_path / "a.pt"), "--out", str(tmp_path / "out")]
    assert main([*words, "--resolution", "64"]) == 5
    assert "its images have 32 px, not 64" in capsys.readouterr().err
    del network["to_rgbs.1.conv.weight"]
    torch.save({"g_ema": network}, tmp_path / "a.pt")
    assert main(words) == 5
    assert "to_rgbs.1.conv.weight" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_names_are_those_of_the_faces_at_full_size():
    """171 tensors at 1024 px, config-f; every one has its place in ours."""
    with torch.device("meta"):
        net = StyleGAN2Generator(resolution=1024, shape=ConditionShape())
        own = net.state_dict()
        found = set()
        rules = rosinality.rules(1024)
        for name in all_names():
            ours = rename(name, rules)
            if ours is not None:
                assert ours in own, name
                found.add(ours)
    assert set(own) - found == {"mapping.mean.value"}


def all_names():
    names = [f"style.{i}.{x}" for i in range(1, 9) for x in ("weight", "bias")]
    names += ["input.input", *(f"noises.noise_{i}" for i in range(17))]
    for layer in ["conv1", *(f"convs.{i}" for i in range(16))]:
        parts = ("conv.weight", "conv.modulation.weight", "conv.modulation.bias")
        names += [f"{layer}.{x}" for x in (*parts, "noise.weight", "activate.bias")]
    names += [f"convs.{i}.conv.blur.kernel" for i in range(0, 16, 2)]
    for layer in ["to_rgb1", *(f"to_rgbs.{i}" for i in range(8))]:
        parts = ("conv.weight", "conv.modulation.weight", "conv.modulation.bias")
        names += [f"{layer}.{x}" for x in (*parts, "bias")]
    names += [f"to_rgbs.{i}.upsample.kernel" for i in range(8)]
    assert len(names) == 171
    return names


def test_a_card_says_what_was_assumed(tmp_path):
    network, mean = tensors()
    imported(tmp_path, {"g_ema": network, "latent_avg": mean})
    card = read_card(tmp_path / "art")
    assert card["recipe"]["fields"]["generator_network"] == "stylegan2"
    assert card["imported_from"]
