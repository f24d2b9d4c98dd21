"""presets/projected_gan_shape_classes.yaml in seconds: a sentence around the names of classes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from components.data.batches import BatchSource
from components.data.captions import ATTRIBUTES
from components.training.distributed import World
from components.training.run import run_job
from pipeline.params.sections import load_params
from pipeline.stages import encoders, score, synthesize, train
from pipeline.stages import filter as filter_stage
from tests.pipeline.trained_world import EVALUATE, context, run_evaluate

PRESET = Path(__file__).parents[3] / "presets" / "projected_gan_shape_classes.yaml"
SHORTER = {
    "synthesize": {
        "pairs": 40,
        "encoders_pairs": 96,
        "judge_pairs": 64,
        "validation_pairs": 8,
        "test_pairs": 40,
        "workers": 1,
    },
    "train_base": {"total_kimg": 0.032, "sample_every_kimg": 0.0, "save_every_kimg": 0.0},
    "tracking": {"enabled": False},
}


def write_params(folder: Path) -> Path:
    values = yaml.safe_load(PRESET.read_text())
    for section, changes in SHORTER.items():
        values[section] |= changes
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.slow
def test_the_preset_of_shapes_as_classes_goes_through_its_stages(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    params = ["--params", str(write_params(tmp_path))]
    source, nets = ["--source", "data/raw/encoders"], ["--encoders", "artifacts/encoders"]
    assert synthesize.main([*params, "--raw", "data/raw", "--truth", "data/truth"]) == 0
    nets_of = ["--raw", "data/raw", *source, "--out", "artifacts/encoders"]
    assert encoders.main([*params, *nets_of]) == 0
    assert score.main([*params, *source, *nets, "--out", "data/scores"]) == 0
    places = [*source, "--heldout", "data/raw/test", "--scores", "data/scores", *nets]
    places += ["--out", "data/train", "--decisions", "data/decisions.parquet"]
    places += ["--report", "reports/filter.json", "--plots", "plots"]
    assert filter_stage.main([*params, *places]) == 0
    data = BatchSource(tmp_path / "data/train", "train", 32, 0)
    assert list(data.label_names) == sorted(ATTRIBUTES["shape"])

    loaded = load_params(Path("params.yaml"))
    artifacts = tmp_path / "artifacts"
    sections = {"train_base": loaded.train_base, "seed": 1, "cluster": loaded.cluster}
    stage, _ = context(
        sections, stage="train_base", key="", start=None, guidance=None, report=None, curve=None,
        data=tmp_path / "data/train", encoders=artifacts / "encoders", out=artifacts / "base",
    )  # fmt: skip
    job = train.make_job(stage)
    Path(job.run_dir).mkdir(parents=True)
    run_job(job, World(), lambda record: None, "cpu")
    train._publish(job, stage)

    run_evaluate(tmp_path, dataclasses.replace(EVALUATE, feature_role="judge"))
    metrics = json.loads((artifacts / "evaluation/metrics.json").read_text())
    assert set(metrics["judge"]) == {"shape", "all", "num"}  # a class tells of the shape alone
    assert sum(metrics["judge_counts"]["generated"]["shape"].values()) == EVALUATE.num_fake
