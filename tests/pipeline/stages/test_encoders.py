"""The encoders command on drawn data: every role, its folder, its exit codes."""

import json

import pytest
import yaml

from components.artifacts.frozen_nets import ABSENT
from models.features import load_feature_net
from pipeline.stages import encoders
from tests.pipeline.params.params_example import valid

FIT = {"total_kimg": 0.064, "batch": 32}


@pytest.fixture
def raw(project):
    """Clean splits of some dozens of drawings below the project."""
    from components.data.config import SynthesizeConfig
    from components.data.corpus import write_corpus

    sizes = {"encoders_pairs": 64, "judge_pairs": 64, "validation_pairs": 8, "test_pairs": 40}
    config = SynthesizeConfig(pairs=40, resolution_px=32, workers=1, **sizes)
    write_corpus(config, 0, project / "data/raw", project / "data/truth")
    return project


def run(project, sections, *extra):
    values = valid()
    values["encoders"] = sections
    values["source"] = {"path": "data/raw/train"}
    if sections.get("clip", {}).get("source") == "none":  # allowed where nothing is asked by text
        values["source"]["condition"] = "none"
        for stage in (values["train_base"], values["superres"]["64"]):
            stage["recipe"]["clip_weight"] = 0
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    paths = ["--raw", "data/raw", "--source", "data/raw/train", "--out", "artifacts/encoders"]
    return encoders.main([*paths, *extra])


def test_command_trains_and_reports(raw, capsys):
    sections = {
        "clip": {"source": "none"},
        "dino": {"source": "none"},
        "classifier": {"source": "none"},
        "guide": {"source": "none"},
        "scorer": {"source": "none"},
        "judge": {
            "source": "train",
            "train": {"fit": FIT, "widths": [8, 8], "strides": [2, 2], "image_size_px": 32},
        },
    }
    assert run(raw, sections) == 0
    out = raw / "artifacts/encoders"
    absent = ["classifier", "clip", "dino", "guide", "scorer"]
    assert {path.name for path in out.iterdir()} == {*absent, "index.json", "judge"}
    for role in absent:  # a folder all the same: dvc.yaml names some of them
        assert [path.name for path in (out / role).iterdir()] == [ABSENT]
    card = json.loads((out / "judge/card.json").read_text())
    assert set(card["metrics"]) >= {"accuracy_shape", "accuracy_size", "accuracy_all", "loss"}
    assert load_feature_net(out / "judge").preprocess.image_size_px == 32
    assert "judge: ready in" in capsys.readouterr().err


def test_a_missing_file_ends_with_3_and_keeps_the_old_folder(raw, capsys):
    old = raw / "artifacts/encoders"
    old.mkdir(parents=True)
    (old / "index.json").write_text("{}")
    sections = {
        "clip": {
            "source": "pretrained",
            "pretrained": {"name": "ViT-B-32", "file": "nowhere.safetensors"},
        },
    }
    assert run(raw, sections) == 3
    assert "no file nowhere.safetensors (encoders.clip.pretrained" in capsys.readouterr().err
    assert [path.name for path in old.iterdir()] == ["index.json"]


def test_dry_run_writes_nothing(raw, capsys):
    assert run(raw, {"judge": {"source": "none"}}, "--dry-run") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["encoders"]["judge"]["source"] == "none"
    assert shown["encoders"]["clip"]["train"]["fit"]["total_kimg"] > 1
    assert not (raw / "artifacts/encoders").exists()


def test_wrong_parameters_end_with_2(raw, capsys):
    sections = {"clip": {"source": "borrowed"}, "dino": {"train": {"heads": 0}}}
    assert run(raw, sections) == 2
    said = capsys.readouterr().err
    assert "encoders.clip.source" in said
    assert "encoders.dino.train.heads" in said
