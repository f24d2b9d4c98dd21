"""A small project folder: a valid params.yaml, a dvc.yaml and what its stages left behind."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.pipeline.params.params_example import valid

GRAPH = """
stages:
  filter:
    desc: Apply the thresholds
    cmd: >-
      python -c "import json; json.dump({'in': 10, 'kept': 7, 'heldout': 1,
      'rejected': {'caption.empty': 2}}, open('reports/filter.json', 'w'))"
    params: [filter]
    metrics:
      - reports/filter.json:
          cache: false
  train_base:
    desc: Train the base
    cmd: python -c "print('<b>kimg</b> 1')"
    deps: [reports/filter.json]
    params: [train_base]
    metrics:
      - reports/train_base.json:
          cache: false
    plots:
      - reports/train_base.csv:
          cache: false
    outs: [artifacts/base, artifacts/base.parquet]
  superres:
    foreach: ${superres}
    do:
      desc: Grow to ${key} px
      cmd: python -m pipeline.stages.superres ${key} --start artifacts/${item.start}
      outs: ["artifacts/px${key}"]
  text_encoder:
    desc: Train the text encoder
    cmd: python -m pipeline.stages.text_encoder --start artifacts/${text_encoder.start}
    outs: [artifacts/aligned]
  evaluate:
    cmd: python -m pipeline.stages.evaluate --model artifacts/${evaluate.model}
    outs: [artifacts/evaluation]
    metrics:
      - reports/evaluation.json:
          cache: false
"""
EVALUATION = {
    "judge": {
        "background": 0.9,
        "size": 0.8,
        "colour": 0.75,
        "shape": 0.5,
        "all": 0.4,
        "num": 1000,
    },
    "frechet_judge": {"before": 100.0, "after": 20.0, "ratio": 0.2},
    "filter_truth": {"swapped": 3, "swapped_rejected": 0.95, "clean": 4, "clean_kept": 0.97},
    "clip_score": 0.75,
    "prompt_sensitivity": 0.5,
    "silhouette": {"shape": 0.45, "worst": 0.1, "num": 1000},
    "silhouette_cells": {"large circle": 0.9, "large ring": 0.6, "small ring": 0.1},
    "seed_variety": 0.6,
    "seed_variety_pixels": 0.5,
    "seed_variety_centre": 0.2,
    "memorised": 0.25,
    "memorised_pixels": 0.2,
    "memorised_held_out": 0.05,
    "class_right": 0.61,
    "class_right_real": 0.83,
    "recall": 0.3,
    "warnings": ["the judge is being fooled: it names 50 % of the shapes right, outlines 45 %"],
    "not_measured": {"coverage": "too few <images>"},
    "cards": {"judge": {"net": "judge", "net_sha256": "ab" * 32, "num_fake": 1000, "seed": 0}},
}


def save_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The folder, entered, before any stage has run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    values = valid()
    values["publish"]["description"] = "<script>alert('x')</script>"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    (tmp_path / "reports").mkdir()
    return tmp_path


@pytest.fixture
def finished(project):
    """The folder after all stages ran."""
    save_json(
        project / "reports/filter.json",
        {"in": 10, "kept": 7, "heldout": 1, "rejected": {"caption.empty": 2, "<i>odd": 0}},
    )
    save_json(project / "reports/train_base.json", {"nimg": 2000})
    (project / "reports/train_base.csv").write_text(
        "kimg,series,value\n1,loss/generator,0.5\n1,loss/discriminator,1.5\n2,loss/generator,0.25\n"
    )
    short = {name: value for name, value in EVALUATION.items() if name != "cards"}
    save_json(project / "reports/evaluation.json", short)
    save_json(project / "artifacts/evaluation/metrics.json", EVALUATION)
    for place in ("artifacts/base/samples/001000.png", "artifacts/base/samples/002000.png"):
        (project / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(project / place)
    (project / "artifacts/base.parquet").write_bytes(b"an output that is a file")
    (project / "artifacts/evaluation").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "blue").save(project / "artifacts/evaluation/samples.png")
    for name, seconds in (("filter", 2.5), ("train_base", 100.0), ("superres@64", 61.0)):
        command = f"python -m pipeline.{name} --x '<y>'"
        record = {"stage": name, "seconds": seconds, "started_utc": "2026-01-01", "cached": False}
        record |= {"command": command, "config": {name: {"a": "<b>"}}, "git_commit": "abc"}
        record |= {"facts": {"images_per_s": 123.4}} if name == "train_base" else {}
        save_json(project / f"runs/stages/{name}.json", record)
    save_json(project / "runs/peak_memory.json", {"peak_memory_gib": 3.25})
    return project
