"""The encoders command on drawn data: every role, its folder, its exit codes."""

import json
import shutil

import pytest
import torch
import yaml

from components.artifacts.frozen_nets import ABSENT
from components.pretraining.class_features import read_classes
from components.pretraining.config import BUNDLED
from models.features import load_feature_net
from pipeline.places import bundled_folder
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


def run(project, sections, *extra, drawn=None, **source):
    values = valid()
    values["encoders"] = sections
    made = [role for role, section in sections.items() if section.get("source") != "none"]
    # What measures has to be made; guide and scorer never measure.
    measuring = [role for role in ("judge", "dino", "classifier") if role in made]
    values["evaluate"]["feature_role"] = [*measuring, "dino"][0]
    values["tune"]["trials"] = 0
    values["synthesize"] |= drawn or {}
    values["source"] = {"path": "data/raw/train", **source}
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
    assert card["seconds"] == 0.0  # told by MLflow and on the screen, not by what DVC hashes
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


def test_a_missing_file_is_found_before_anything_trains(raw, capsys):
    """CLIP and DINO stand before the classifier, and train for minutes."""
    missing = {"name": "mobilenetv2_100", "file": "nowhere.safetensors"}
    sections = {
        "clip": {"source": "train", "train": {"fit": {"total_kimg": 1000}}},
        "classifier": {"source": "pretrained", "pretrained": missing},
    }
    assert run(raw, sections) == 3
    said = capsys.readouterr().err
    assert "no file nowhere.safetensors (encoders.classifier.pretrained.file)" in said
    assert "clip:" not in said and "dino:" not in said


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


ALL_BUNDLED = {role: {"source": "bundled"} for role in BUNDLED}
NO_SPLITS = {"encoders_pairs": 0, "judge_pairs": 0}


def test_bundled_nets_are_copied_and_no_drawing_is_read(raw, capsys):
    for split in ("encoders", "judge", "test", "train"):
        for shard in (raw / "data/raw" / split).glob("*.tar"):
            shard.write_bytes(b"no tar: reading it would fail")
    assert run(raw, ALL_BUNDLED, drawn=NO_SPLITS) == 0
    out, box = raw / "artifacts/encoders", bundled_folder() / "encoders"
    index = json.loads((out / "index.json").read_text())
    assert {role for role, entry in index.items() if entry["source"] == "bundled"} == set(BUNDLED)
    assert index["guide"] == {"source": "none", "kind": None, "sha256": None}
    assert [path.name for path in (out / "guide").iterdir()] == [ABSENT]
    for role in BUNDLED:
        assert {path.name for path in (out / role).iterdir()} == {"card.json", "model.safetensors"}
        card = json.loads((box / role / "card.json").read_text())
        assert index[role]["sha256"] == card["sha256"]
        load_feature_net(out / role)
    said = capsys.readouterr().err
    assert "judge: bundled, ready in 0 s accuracy_all" in said


def run_by_class(project, sections, *extra):
    """Run the stage on drawings whose label, 0 to 39, is their class."""
    values = valid()
    values["encoders"] = sections | {"clip": {"source": "none"}}
    label = {"condition": "label", "label_column": "label"}
    values["source"] = {"path": "data/raw/encoders", **label}
    for stage in (values["train_base"], values["superres"]["64"]):
        stage["recipe"]["clip_weight"] = 0
    values["text_encoder"] |= {"recipe": {}, "total_kimg": 0.0}
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    paths = ["--raw", "data/raw", "--source", "data/raw/encoders", "--out", "artifacts/encoders"]
    return encoders.main([*paths, *extra])


def test_bundled_nets_learn_the_means_of_the_classes(raw):
    assert run_by_class(raw, ALL_BUNDLED) == 0
    out = raw / "artifacts/encoders"
    table = read_classes(out / "classifier", ["3", "7"])
    assert table is not None and table.logit_K.tolist() == [3, 7]
    assert read_classes(out / "dino", ["3"]).logit_K is None
    assert not (out / "judge" / "classes.safetensors").exists()


@pytest.mark.fuzz
@pytest.mark.timeout(1_500)
def test_means_of_the_classes_taken_on_ray_are_the_same_bytes(raw, monkeypatch):
    import timm
    from safetensors.torch import save_file

    monkeypatch.setenv("GANLINE_RUNS_DIR", str(raw / "runs"))
    torch.manual_seed(0)
    save_file(
        timm.create_model("test_resnet", num_classes=40).state_dict(), raw / "net.safetensors"
    )
    published = {"name": "test_resnet", "file": "net.safetensors", "image_size_px": 32}
    published["arguments"] = {"num_classes": 40}
    sections = ALL_BUNDLED | {"classifier": {"source": "pretrained", "pretrained": published}}
    made = []
    for backend in ("local", "ray"):
        on_ray = ("--set", "cluster.scoring_workers=2", "--set", "cluster.cpus_per_worker=1")
        assert run_by_class(raw, sections, "--set", f"encoders.backend={backend}", *on_ray) == 0
        files = (raw / "artifacts/encoders").rglob("*.*")
        made.append({str(path): path.read_bytes() for path in files})
    assert made[0] == made[1]
    assert sum(name.endswith("classes.safetensors") for name in made[0]) == 2


def test_a_damaged_box_ends_with_5_and_keeps_the_old_folder(raw, monkeypatch, capsys):
    shutil.copytree(bundled_folder(), raw / "box")
    (raw / "box/encoders/judge/model.safetensors").write_bytes(b"cut")
    monkeypatch.setattr(encoders, "bundled_folder", lambda: raw / "box")
    old = raw / "artifacts/encoders"
    old.mkdir(parents=True)
    (old / "index.json").write_text("{}")
    assert run(raw, ALL_BUNDLED) == 5
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and "(encoders.judge.source: bundled)" in last
    assert [path.name for path in old.iterdir()] == ["index.json"]


def test_bundled_nets_for_pictures_that_only_look_embedded_end_with_2(raw, capsys):
    (raw / "mine").mkdir()
    (raw / "data/raw").rename(raw / "mine/raw")
    assert run(raw, ALL_BUNDLED, "--source", "mine/raw/train", path="mine/raw/train") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "mine/raw/train is no split of the embedded drawings" in last
    assert "set source to train or pretrained" in last
