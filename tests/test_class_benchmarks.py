"""Benchmarks of classes: growth measured at the old resolution, stems compared to the bit, guidance
on and off.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from benchmarks import images_to_distance
from benchmarks.growth import Reduced, compare_stem, main
from components.artifacts.artifact import load_generator, write_artifact
from components.data.batches import BatchSource
from components.data.captions import ATTRIBUTES
from components.data.shards import ShardWriter, write_manifest
from components.evaluation.bench import Bench
from components.evaluation.config import EvaluateConfig
from components.pretraining.class_features import write_classes
from components.sampling import generate_from
from models.features import FeatureCard, build_feature_net, save_feature_net
from models.interfaces import Condition, ConditionShape
from models.stylegan_xl.recipe import StyleGANXL
from tests.pipeline.tiny_world import SIDE, write_params, write_projected_nets

NAMES = ("blue ring", "red ring", "red square")
SHAPE = ConditionShape(num_labels=len(NAMES))
STEM = StyleGANXL(
    stem_px=8,
    stem_layers=4,
    channel_base=128,
    channel_max=8,
    margin_px=2,
    z_dim=8,
    w_dim=8,
    class_embedding="random",
    embed_dim=4,
)
GROWN = replace(STEM, heads=((16, 4),))


class Blocks(nn.Module):
    """A generator whose image is its code, block by block a little darker."""

    z_dim = 1

    def map(self, z, condition, truncation=1.0):
        return z[:, None]

    def synthesize(self, ws, condition=None, noise="const"):
        pattern = torch.arange(16.0).view(1, 1, 4, 4).expand(len(ws), 3, -1, -1) / 16
        return pattern * ws[:, :, 0, None, None]


def test_images_are_averaged_down_as_a_file_holds_them():
    generator, none = Blocks(), Condition()
    large = generate_from(generator, none, [0, 1]).astype(np.float64)
    small = generate_from(Reduced(generator, 2), none, [0, 1]).astype(np.float64)
    assert small.shape == (2, 2, 2, 3)
    means = large.reshape(2, 2, 2, 2, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - means).max() <= 0.5 + 1e-3


def test_a_stem_is_compared_to_the_bit():
    old = {"map": torch.zeros(2), "layers.0": torch.ones(3), "layers.1": torch.ones(3)}
    new = {"map": torch.zeros(2), "layers.0": torch.ones(3), "layers.1": torch.ones(5)}
    told = compare_stem(old, new, lambda name: name.startswith("layers.1"))
    assert told["unchanged"] and told["kept_tensors"] == 2
    assert told["cut"] == ["layers.1"]
    assert (told["kept_values"], told["grown_values"]) == (5, 5)
    new["map"] = torch.tensor([0.0, -0.0])  # equal, and another bit
    told = compare_stem(old, new, lambda name: name.startswith("layers.1"))
    assert told["changed"] == ["map"] and not told["unchanged"]
    assert not compare_stem({}, new, lambda name: False)["unchanged"], "nothing was kept"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes at 16 px, a random judge, an artifact of 8 px and one that grew from it."""
    folder = tmp_path_factory.mktemp("world")
    _write_classes(folder / "data")
    card = FeatureCard(
        role="judge",
        kind="attributes",
        architecture={
            "widths": [8, 8],
            "strides": [2, 2],
            "pooled_dim": 8,
            "classes": ATTRIBUTES,
        },
        image_size_px=16,
        mean=[0.5] * 3,
        std=[0.5] * 3,
        source="random",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        judge = build_feature_net(card)
        save_feature_net(folder / "encoders" / "judge", judge, role="judge", source="random")
        stem = STEM.generator(8, SHAPE)
        grown = GROWN.generator(16, SHAPE)
    grown.grow_from(stem.state_dict())
    _write(folder / "base", STEM, 8, stem.state_dict())
    _write(folder / "px16", GROWN, 16, grown.state_dict())
    return folder


def _write_classes(folder: Path) -> None:
    kinds = [("key", pa.string()), ("image", pa.binary()), ("caption", pa.string())]
    schema = pa.schema([*kinds, ("label", pa.int32())])
    rng = np.random.default_rng(0)
    splits = {}
    for split in ("train", "heldout"):
        writer = ShardWriter(folder, split, schema, shard_rows=64, group_rows=16)
        for i in range(24):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")
            row = {"key": str(i), "image": file.getvalue(), "caption": NAMES[i % 3], "label": i % 3}
            writer.write(row)
        splits[split] = writer.close()
    facts = {"resolution_px": 16, "embedding_dim": 0, "num_labels": 3, "label_names": list(NAMES)}
    write_manifest(folder, facts | {"splits": splits})


def _write(folder: Path, recipe: StyleGANXL, resolution: int, tensors: dict) -> None:
    write_artifact(
        folder, recipe=recipe, resolution=resolution, shape=SHAPE, nimg=0, seed=0,
        generator_state=tensors, label_names=NAMES,
    )  # fmt: skip


def _words(world: Path, *names: str) -> list[str]:
    paths = ["--data", str(world / "data"), "--encoders", str(world / "encoders")]
    return [*(str(world / name) for name in names), *paths, "--num", "20", "--repeats", "2"]


def test_a_chain_is_measured_at_the_old_resolution(world: Path, tmp_path: Path, capsys) -> None:
    assert main([*_words(world, "base", "px16"), "--json", str(tmp_path / "g.json")]) == 0
    said = capsys.readouterr().out.splitlines()
    result = json.loads((tmp_path / "g.json").read_text())
    assert json.loads(said[-1]) == result
    (growth,) = result["growths"]
    assert (growth["from"], growth["to"], growth["measured_px"]) == ("base", "px16", 8)
    assert growth["num_real"] == 24
    for name in ("before", "after"):
        assert len(set(growth["frechet"][name])) == 2, "each repeat has other seeds"
        assert set(growth["judge"][name]) == {"colour", "shape", "all", "num"}
    assert growth["frechet"]["before"] != growth["frechet"]["after"]
    # As the evaluate stage measures the artifact before growth.
    config = EvaluateConfig(feature_role="judge", num_fake=20)
    source = BatchSource(world / "data", "heldout", 8, 0)
    bench = Bench.open(source, world / "encoders", config, cache=None, takes_text=False)
    generator, _ = load_generator(world / "base")
    expected = bench.frechet(bench.sample(generator, 20, aligned=False))
    assert growth["frechet"]["before"][0] == pytest.approx(expected, rel=1e-9)
    cut = [f"synthesis.layers.{i}" for i in (2, 3, 4)]  # two critical convolutions and ToRGB
    assert growth["stem"]["unchanged"] and growth["stem"]["cut"] == cut
    assert any("bit-unchanged" in line for line in said)


def test_a_stem_that_moved_is_named(world: Path, tmp_path: Path, capsys) -> None:
    generator, _ = load_generator(world / "px16")
    tensors = generator.state_dict()
    tensors["mapping.mean.value"] += 1e-6
    _write(world / "moved", GROWN, 16, tensors)
    assert main(_words(world, "base", "moved")) == 0
    assert "CHANGED in 1 of" in (said := capsys.readouterr().out)
    assert "mapping.mean.value" in said


def test_artifacts_in_another_order_are_refused(world: Path, capsys) -> None:
    assert main(_words(world, "px16", "base")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: px16 has 16 px and base 8 px")
    with pytest.raises(SystemExit):
        main(_words(world, "base"))


def test_guidance_on_and_off_see_the_same_images(world: Path, tmp_path: Path, capsys) -> None:
    encoders = world / "encoders"
    write_projected_nets(encoders, len(NAMES))
    write_classes(encoders / "classifier", list(NAMES), torch.randn(3, 6), list(NAMES))
    params = write_params(tmp_path, source={"condition": "label"})
    values = yaml.safe_load(params.read_text())
    sizes = {"projection_width": 8, "discriminator_max": 8, "cmap_dim": 4, "feature_size_px": 64}
    recipe = {k: v for k, v in asdict(STEM).items() if k not in ("heads", "diff_augment")}
    values["train_base"] |= {
        "recipe": {"name": "stylegan_xl", **recipe, **sizes, "class_embedding": "centred"},
        "resolution_px": SIDE // 2,
        "batch": 8,
        "micro_batch": 8,
    }
    values["text_encoder"]["resolution_px"] = SIDE // 2
    params.write_text(yaml.safe_dump(values))
    words = [str(params), "--kimg", "0.032", "--every", "0.016", "--num", "12"]
    words += ["--data", str(world / "data"), "--encoders", str(encoders)]
    cases = ["--case", "on", "--case", "off,guidance_weight=0"]
    assert images_to_distance.main([*words, *cases, "--json", str(tmp_path / "c.json")]) == 0
    curves = json.loads((tmp_path / "c.json").read_text())["curves"]
    assert all([p["images"] for p in points] == [0, 16, 32] for points in curves.values())
    shares = {"judge.colour", "judge.shape"}
    assert all(shares <= set(point) for points in curves.values() for point in points)
    first, other = (points[0] for points in curves.values())
    assert first["distance"] == other["distance"]  # the same untrained generator
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert {"colour", "shape"} <= set(said)
