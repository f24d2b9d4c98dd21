"""`ganline import` of StyleGAN3 and StyleGAN-XL: the same images, and the next growth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from components.artifact import load_generator, load_start
from components.family import recipe_from
from models.interfaces import Condition, ConditionShape
from pipeline.generate import main as generate
from pipeline.import_model import main
from tests.models.interop.authors_files import (
    authors_modules,
    below,
    parity,
    persistent,
    write_snapshot,
)


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
    facts = {"synthesis.num_critical": 2, "synthesis.margin_size": 10}
    init = {"channel_base": 1024, "channel_max": 32, "mapping_kwargs": {"num_layers": 2}}
    file, out = written(tmp_path / f"afhq{suffix}", theirs, facts, init), tmp_path / "out"
    assert main([str(file), "--out", str(out)]) == 0
    assert "StyleGAN3, 16 px, asked with nothing else" in capsys.readouterr().out
    generator, card = load_generator(out)
    assert agrees(generator.synthesize(synthesis.input["ws"]), synthesis.output["img"])
    ws = generator.map(mapping.input["z"], Condition())
    assert agrees(ws[:, :1], mapping.output["w_psi1.0"][:, :1])
    assert card["recipe"]["fields"]["generator_network"] == "stylegan3"
    assert generate(["--model", str(out), "--out", str(tmp_path / "x.png")]) == 0


@pytest.mark.parametrize("suffix", [".pkl", ".safetensors"])
def test_a_grown_stylegan_xl_draws_the_same_and_grows_on(
    tmp_path: Path, suffix: str, capsys
) -> None:
    synthesis, mapping = (
        parity("stylegan_xl_superres_synthesis"),
        parity("stylegan_xl_mapping_cond"),
    )
    theirs = {**below("synthesis", synthesis.param), **below("mapping", mapping.param)}
    table = theirs["mapping.embed.weight"]
    rows = torch.zeros(1000 - len(table), table.shape[1])  # the published table has 1000
    theirs["mapping.embed.weight"] = torch.cat([table, rows])
    facts = {"synthesis.channel_base": 1024, "mapping.w_avg_beta": 0.998}
    init = {"path_stem": "/home/x/best_model.pkl", "head_layers": 4, "up_factor": 2}
    file, out = written(tmp_path / f"imagenet32{suffix}", theirs, facts, init), tmp_path / "out"
    assert main([str(file), "--out", str(out)]) == 0
    assert "StyleGAN-XL, 32 px, asked with 10 classes" in capsys.readouterr().out
    generator, card = load_generator(out)
    fields = card["recipe"]["fields"]
    assert (fields["stem_px"], fields["stem_layers"], fields["heads"]) == (16, 7, [[32, 4]])
    assert agrees(generator.synthesize(synthesis.input["ws"]), synthesis.output["img"])
    label = Condition(label_N=mapping.input["label"])
    assert agrees(generator.map(mapping.input["z"], label)[:, 0], mapping.output["w_psi1.0"][:, 0])
    assert torch.equal(generator.embedding, table)
    words = ["--label", "3", "--psi", "0.7", "--model", str(out)]
    assert generate([*words, "--out", str(tmp_path / "x.png")]) == 0

    start = load_start(out)
    grown = recipe_from({"name": card["recipe"]["name"], **fields, "heads": [[32, 4], [64, 4]]})
    larger = grown.generator(64, ConditionShape(**card["shape"]))
    larger.grow_from(start.generator)
    kept = [n for n in start.generator if n in larger.state_dict() and not larger.in_head(n)]
    assert len(kept) > 20
    for name in kept:
        assert torch.equal(larger.state_dict()[name], start.generator[name]), name


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
