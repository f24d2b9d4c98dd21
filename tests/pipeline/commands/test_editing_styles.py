"""Sweeps shared out on Ray, and published mappers of styles."""

import numpy as np
import pytest
import torch

from components.artifacts.artifact import load_generator
from components.editing import (
    ChannelSweep,
    ClipText,
    StoredMapper,
    SweepConfig,
    edit_by_mapper,
    read_mapper,
)
from components.editing.stored_mapper import check_mapper
from components.errors import ConfigError
from components.requests.subjects import NOTHING
from models.editing.mapper import StyleMapper, by_place
from models.features import load_feature_net
from models.interfaces import Condition
from pipeline.commands.channel_sweep import SweepWorker
from pipeline.commands.edit import main as edit
from pipeline.commands.import_model import main as import_model
from pipeline.places import bundled_folder
from tests.pipeline.commands.test_editing_commands import BLUE, RED, SWEEP, model, words

__all__ = ["model", "words"]  # the fixtures


def test_a_process_on_ray_sweeps_as_this_one_does(model):
    """The worker opens model and CLIP by itself; its rows are those of a sweep made here."""
    encoders = bundled_folder() / "encoders"
    config = {"codes": 8, "images": 2}
    worker = SweepWorker(str(model), str(encoders), "clip", (), [NOTHING], config)
    (row,) = worker([{"channels": [0, 5]}])
    generator, _ = load_generator(model)
    clip = ClipText(load_feature_net(encoders / "clip"))
    sweep = ChannelSweep(generator, Condition(), clip, SweepConfig(**config))
    assert np.array_equal(row["direction"], sweep.rows([0, 5]).numpy())


@pytest.mark.fuzz
def test_a_sweep_is_shared_out_on_ray(words, tmp_path, capsys, monkeypatch):
    line = [RED, "--to", BLUE, "--method", "direction", *SWEEP, *words]
    assert edit([*line, "--out", str(tmp_path / "here.png")]) == 0
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "other"))
    assert edit([*line, "--out", str(tmp_path / "ray.png"), "--sweep-workers", "2"]) == 0
    assert "sweeping" in capsys.readouterr().err
    here, there = ((tmp_path / name).read_bytes() for name in ("here.png", "ray.png"))
    assert here == there


def test_a_published_mapper_of_styles_comes_in_and_changes_its_styles(
    words, tmp_path, capsys, model
):
    """One perceptron for each convolution, by the layer's place among all, ToRGB counted."""
    generator, _ = load_generator(model)
    layers = generator.style_layers()
    places = [i for i, layer in enumerate(layers) if layer.kind == "conv"]
    mapper = StyleMapper({f"{i:02d}": layers[i].channels for i in places})
    state = {}
    for place, group in zip(places, mapper.groups, strict=True):
        for i, layer in enumerate(group.layers):
            name = f"mapper.mapper_{place}.mapping.{i + 1}"
            state |= {f"{name}.weight": layer.weight.detach(), f"{name}.bias": layer.bias.detach()}
    path, out = tmp_path / "styles.pt", tmp_path / "styles.safetensors"
    torch.save({"state_dict": state, "opts": {"description": BLUE}}, path)
    assert import_model([str(path), "--out", str(out)]) == 0
    assert f"a mapper of {len(places)} styles" in capsys.readouterr().out
    stored, ws = read_mapper(out), generator.map(torch.randn(1, 6), Condition())
    change = edit_by_mapper(stored.mapper, ws, generator).change
    wanted = mapper(by_place(generator.styles(ws).values())).values()
    for layer, moved, step in zip(layers, change.values(), wanted, strict=True):
        assert torch.allclose(moved, 0.1 * step, atol=1e-6)
        assert bool(moved.abs().max() > 0) == (layer.kind == "conv")
    used = ["--method", "mapper", "--mapper", str(out), "--out", str(tmp_path / "m.png")]
    assert edit([*used, *words]) == 0
    del state[next(iter(state))]
    torch.save({"state_dict": state}, path)
    assert import_model([str(path), "--out", str(out), "--force"]) != 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_mapper_of_styles_is_refused_for_a_model_of_another_layout():
    stored = StoredMapper(mapper=StyleMapper({"00": 5}), text="x", generator_sha256="")
    with pytest.raises(ConfigError, match="style 00 has 5 channels, the model's has none"):
        check_mapper(stored, torch.nn.Linear(1, 1), [""])
