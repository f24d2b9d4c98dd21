"""`ganline benchmark_coco` on a made-up COCO, a tiny release and Inception of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from components.artifacts.publishing import PublishConfig
from components.artifacts.release import write_release
from models.features.inception import InceptionNet
from pipeline.commands.benchmark_coco import main, read_config
from tests.components.evaluation.coco_files import noise, picture_file, write_coco
from tests.pipeline.trained_world import trained_world

PRESET = Path(__file__).parents[3] / "presets" / "benchmarks" / "coco_zero_shot.yaml"
FILES = {f"COCO_val2014_{i:012d}.jpg": picture_file(noise(i)) for i in range(6)}
CAPTIONS = {name: ["a red circle", "A blue square."] for name in [*FILES, "gone.jpg"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = trained_world(tmp_path_factory.mktemp("coco"))
    Image.new("RGB", (8, 8)).save(world / "samples.png")
    write_release(
        world / "artifacts" / "release",
        artifact=world / "artifacts" / "base",
        encoders=world / "artifacts" / "encoders",
        metrics={},
        samples=world / "samples.png",
        config=PublishConfig(),
    )
    torch.manual_seed(0)
    torch.save(InceptionNet().network.state_dict(), world / "inception.pth")
    annotations, images = write_coco(world / "coco", {**FILES, "gone.jpg": None}, CAPTIONS)
    settings = {
        "annotations": str(annotations),
        "images": str(images),
        "inception_file": str(world / "inception.pth"),
        "clip_scorer": {"name": ""},
        "resolutions_px": [16, 64],
        "num_fake": 4,
        "batch": 4,
    }
    (world / "coco.yaml").write_text(yaml.safe_dump({"coco": settings}))
    return world


@pytest.fixture
def run(world: Path, monkeypatch, tmp_path: Path):
    """Run the command with more arguments; its JSON goes to tmp_path / coco.json."""
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(world / "runs"))
    folders = ["--model", str(world / "artifacts/release")]
    folders += ["--encoders", str(world / "artifacts/encoders")]

    def command(*more: str, out: Path = tmp_path / "coco.json") -> int:
        return main([str(world / "coco.yaml"), "--out", str(out), *folders, *more])

    return command


@pytest.mark.slow
def test_the_report_and_a_second_run(world: Path, run, tmp_path: Path, capsys) -> None:
    assert run() == 0
    said = capsys.readouterr()
    assert "6 of 7 pictures" in said.err
    assert "left out 1: sample.missing_image" in said.err
    assert "fid4_coco_64" in said.out
    assert "not measured: the model draws 16 px" in said.out
    report = json.loads((tmp_path / "coco.json").read_text())
    assert report["fid4_coco_16"] > 0
    assert -1 <= report["clip_score_coco"] <= 1
    assert report["data"]["left_out"] == {"sample.missing_image": 1}
    fid, score = (report["cards"][name] for name in ("fid4_coco_16", "clip_score_coco"))
    assert (fid["net"], fid["num_real"], fid["num_fake"]) == ("inception", 6, 4)
    assert fid["resizer"] == "bilinear of TensorFlow 1 to 299 px"
    assert "not the published weights" in fid["note"]
    assert "took part in the training" in score["note"], "only the guiding CLIP is here"
    assert len(report["model"]["generator_sha256"]) == 64

    cached = world / "runs" / "evaluation" / "real_features"
    before = {path.name: path.stat().st_mtime_ns for path in cached.iterdir()}
    assert run(out=tmp_path / "again.json") == 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "coco.json").read_bytes()
    assert {path.name: path.stat().st_mtime_ns for path in cached.iterdir()} == before


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ("coco.annotations=nowhere.json", 3, "nowhere.json"),
        ("coco.images=nowhere", 3, "no such folder (nowhere)"),
        ("coco.inception_file=nowhere.pth", 5, "nowhere.pth: no such file (coco.inception_file)"),
        (
            "coco.clip_scorer.name=ViT-Z",
            2,
            "open_clip has no model 'ViT-Z' (coco.clip_scorer.name)",
        ),
        ("coco.num_fakes=3", 2, "did you mean num_fake?"),
        ("coco.resolutions_px=[512]", 2, "a whole number from 8 to 256"),
        ("evaluate.batch=3", 2, "unknown key"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    run, tmp_path: Path, capsys, setting: str, code: int, said: str
) -> None:
    assert run("--set", setting) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in printed.err
    assert list(tmp_path.iterdir()) == []


def test_no_net_no_model_no_folder(world: Path, run, tmp_path: Path, capsys) -> None:
    assert run(out=tmp_path / "nowhere" / "coco.json") == 2
    assert "--out" in capsys.readouterr().err
    assert run("--model", str(tmp_path / "nothing")) == 5
    assert "there is no model" in capsys.readouterr().err
    alone = [str(world / "coco.yaml"), "--model", str(world / "artifacts/release")]
    no_net = ["--set", "coco.inception_file=''", "--out", str(tmp_path / "coco.json")]
    assert main([*alone, *no_net]) == 2
    assert "no net to measure with" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_preset_states_every_value_and_is_the_papers(capsys) -> None:
    config = read_config(PRESET, [])
    assert (config.num_fake, config.resolutions_px) == (30_000, (64, 256))
    assert (config.clip_scorer.name, config.clip_scorer.tag) == ("ViT-g-14", "laion2b_s12b_b42k")
    given = yaml.safe_load(PRESET.read_text())["coco"]
    assert main([str(PRESET), "--out", "coco.json", "--dry-run"]) == 0
    resolved = yaml.safe_load(capsys.readouterr().out)["coco"]
    assert set(given) == set(resolved)
    assert not Path("coco.json").exists()
