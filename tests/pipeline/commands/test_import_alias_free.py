"""`ganline import` of StyleGAN3 and StyleGAN-XL: the same images, and the next growth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from components.artifacts.artifact import load_generator, load_start
from components.artifacts.family import recipe_from
from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.loop import train
from models.features import load_feature_net
from models.interfaces import Batch, Condition, ConditionShape, Site, Start
from models.interop.parity_file import ParityFile
from pipeline.commands.generate import main as generate
from pipeline.commands.import_model import main
from tests.models.interop.authors_files import (
    authors_modules,
    below,
    parity,
    persistent,
    write_snapshot,
)
from tests.pipeline.tiny_world import write_projected_nets


def agrees(ours: Tensor, theirs: Tensor) -> bool:
    return (ours.detach() - theirs).abs().max() <= 1e-4 * max(1.0, theirs.abs().max().item())


def written(file: Path, tensors: dict[str, Tensor], facts: dict, init: dict) -> Path:
    """Write a snapshot of persistent classes, or the tensors alone."""
    if file.suffix == ".pkl":
        with authors_modules():
            return write_snapshot(file, persistent(tensors, facts, init))
    save_file({name: x.contiguous() for name, x in tensors.items()}, file)
    return file


@pytest.mark.parametrize("suffix", [".pkl", ".safetensors"])
def test_stylegan3_draws_the_same(tmp_path: Path, suffix: str, capsys) -> None:
    synthesis, mapping = parity("stylegan3_synthesis"), parity("stylegan_xl_mapping_uncond")
    theirs = {**below("synthesis", synthesis.param), **below("mapping", mapping.param)}
    theirs.pop("mapping.embed.weight", None)  # StyleGAN-XL's own
    facts = {"synthesis.num_critical": 2, "synthesis.margin_size": 10, "mapping.w_avg_beta": 0.99}
    init = {"channel_base": 1024, "channel_max": 32, "mapping_kwargs": {"num_layers": 2}}
    file, out = written(tmp_path / f"afhq{suffix}", theirs, facts, init), tmp_path / "out"
    assert main([str(file), "--out", str(out)]) == 0
    assert "StyleGAN3, 16 px, asked with nothing else" in capsys.readouterr().out
    generator, card = load_generator(out)
    assert agrees(generator.synthesize(synthesis.input["ws"]), synthesis.output["img"])
    ws = generator.map(mapping.input["z"], Condition())
    assert agrees(ws[:, :1], mapping.output["w_psi1.0"][:, :1])
    assert card["recipe"]["fields"]["generator_network"] == "stylegan3"
    told = 0.99 if suffix == ".pkl" else 0.998  # a plain state dict tells of no decay
    assert generator.mapping.mean.beta == told
    assert generate(["--model", str(out), "--out", str(tmp_path / "x.png")]) == 0


def grown_snapshot(file: Path) -> tuple[Path, ParityFile, ParityFile]:
    """Write a StyleGAN-XL network of 32 px and ten classes; return the file and its parts."""
    synthesis = parity("stylegan_xl_superres_synthesis")
    mapping = parity("stylegan_xl_mapping_cond")
    theirs = {**below("synthesis", synthesis.param), **below("mapping", mapping.param)}
    table = theirs["mapping.embed.weight"]
    rows = torch.zeros(1000 - len(table), table.shape[1])  # the published table has 1000
    theirs["mapping.embed.weight"] = torch.cat([table, rows])
    facts = {"synthesis.channel_base": 1024, "mapping.w_avg_beta": 0.998}
    init = {"path_stem": "/home/x/best_model.pkl", "head_layers": 4, "up_factor": 2}
    return written(file, theirs, facts, init), synthesis, mapping


@pytest.mark.parametrize("suffix", [".pkl", ".safetensors"])
def test_a_grown_stylegan_xl_draws_the_same(tmp_path: Path, suffix: str, capsys) -> None:
    file, synthesis, mapping = grown_snapshot(tmp_path / f"imagenet32{suffix}")
    out = tmp_path / "out"
    assert main([str(file), "--out", str(out)]) == 0
    assert "StyleGAN-XL, 32 px, asked with 10 classes" in capsys.readouterr().out
    generator, card = load_generator(out)
    fields = card["recipe"]["fields"]
    assert (fields["stem_px"], fields["stem_layers"], fields["heads"]) == (16, 7, [[32, 4]])
    assert agrees(generator.synthesize(synthesis.input["ws"]), synthesis.output["img"])
    label = Condition(label_N=mapping.input["label"])
    assert agrees(generator.map(mapping.input["z"], label)[:, 0], mapping.output["w_psi1.0"][:, 0])
    assert torch.equal(generator.embedding, mapping.param["embed.weight"])
    words = ["--label", "3", "--psi", "0.7", "--model", str(out)]
    assert generate([*words, "--out", str(tmp_path / "x.png")]) == 0


@pytest.mark.slow
def test_an_imported_stylegan_xl_is_trained_one_growth_further(tmp_path: Path) -> None:
    file, _, _ = grown_snapshot(tmp_path / "imagenet32.safetensors")
    assert main([str(file), "--out", str(tmp_path / "out")]) == 0
    start = load_start(tmp_path / "out")
    trained = grown(start, tmp_path)
    kept = [n for n in start.generator if n in trained.state_dict() and not trained.in_head(n)]
    assert len(kept) > 20
    for name in kept:
        assert torch.equal(trained.state_dict()[name], start.generator[name]), name


class Stream:
    """Noise of ten classes, drawn from the index of the sample."""

    def atom(self, position: int, size: int) -> Batch:
        image = torch.randn(size, 3, 64, 64, generator=torch.Generator().manual_seed(position))
        label_N = torch.arange(position, position + size) % 10
        return Batch(size=size, image_NCHW=image, condition=Condition(label_N=label_N))


def grown(start: Start, folder: Path) -> Any:
    """Train a head of 64 px on an imported network, through the loop; return the generator."""
    write_projected_nets(folder, num_classes=0)
    fields = start.card["recipe"]["fields"] | {
        "heads": [[32, 4], [64, 4]], "guidance_weight": 0.0, "norm_batch": 4,
        "projection_width": 8, "discriminator_max": 8, "cmap_dim": 8, "feature_size_px": 64,
    }  # fmt: skip
    recipe = recipe_from({"name": start.card["recipe"]["name"], **fields})
    site = Site(
        resolution=64,
        shape=ConditionShape(**start.card["shape"]),
        encoder=lambda role: load_feature_net(folder / role),
        start=start,
    )
    networks = recipe.build(site)
    fresh = {n: x.clone() for n, x in networks.trained["generator"].state_dict().items()}
    config = TrainConfig(
        resolution_px=64, total_kimg=0.008, batch=4, micro_batch=4, ema_half_life_kimg=0.001
    )
    result = train(
        recipe=recipe,
        networks=networks,
        config=config,
        seed=1,
        batches=Stream(),
        state_store=None,
        world=World(),
        report=lambda record: None,
        device="cpu",
    )
    generator = result.ema
    weights = [n for n in fresh if generator.in_head(n) and n.endswith("weight")]
    assert weights
    assert all(not torch.equal(generator.state_dict()[n], fresh[n]) for n in weights)
    return generator


def test_filters_that_are_not_ours_are_named(tmp_path: Path, capsys) -> None:
    """They follow from the sizes; where they do not, no image is drawn by wrong ones."""
    synthesis, mapping = parity("stylegan3_synthesis"), parity("stylegan_xl_mapping_uncond")
    theirs = {**below("synthesis", synthesis.param), **below("mapping", mapping.param)}
    theirs.pop("mapping.embed.weight", None)
    theirs["synthesis.L2_36_32.up_filter"] = theirs["synthesis.L2_36_32.up_filter"] * 1.01
    file = written(tmp_path / "x.safetensors", theirs, {}, {})
    assert main([str(file), "--out", str(tmp_path / "out")]) == 5
    assert "L2_36_32.up_filter" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
