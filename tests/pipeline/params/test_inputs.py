"""What the user has to bring is asked for before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.errors import DataError
from pipeline.params.inputs import missing_inputs, require_inputs
from pipeline.params.sections import load_params

ROOT = Path(__file__).parents[3]
PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_a_preset_names_nothing_outside_the_project(preset):
    def texts(value):
        if isinstance(value, dict):
            for inner in value.values():
                yield from texts(inner)
        elif isinstance(value, str):
            yield value

    assert not [text for text in texts(yaml.safe_load(preset.read_text())) if "../" in text]


def test_pictures_and_weights_that_are_not_there_are_named_together(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    params = load_params(ROOT / "presets/projected_gan_emoji.yaml")
    with pytest.raises(DataError) as caught:
        require_inputs(params, "params.yaml")
    told = str(caught.value)
    assert "source.path data/emoji" in told and "\n" not in told
    weights = "data/weights/mobilenetv2_100_imagenet.safetensors"
    assert f"encoders.classifier.pretrained.file {weights}" in told
    assert "or leave `file` empty to fetch it from the hub" in told
    (tmp_path / weights).parent.mkdir(parents=True)
    (tmp_path / weights).touch()
    assert missing_inputs(params) == {"source.path": "data/emoji"}
    (tmp_path / "data/emoji").mkdir()
    require_inputs(params, "params.yaml")


def test_the_embedded_corpus_is_drawn_and_need_not_be_there(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert missing_inputs(load_params(ROOT / "params.yaml")) == {}
