"""The whole graph at the tiniest size: DVC, Ray and MLflow start, every stage really runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.whole_graph import TINY, copy_project, run_module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

STAGES = (
    "synthesize",
    "source",
    "encoders",
    "score",
    "filter",
    "tune",
    "train_base",
    "superres@64",
    "text_encoder",
    "evaluate",
    "publish",
)


def _ran(output: str) -> set[str]:
    """Return the stages that DVC says it ran."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage")]
    return {line.split("'")[1] for line in lines}


def _would_run(folder: Path) -> set[str]:
    return _ran(run_module(folder, "dvc", "repro", "--dry"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the working tree in an empty folder, with the tiny params, run once."""
    folder = copy_project(tmp_path_factory.mktemp("e2e") / "project", TINY)
    assert _ran(run_module(folder, "dvc", "repro")) == set(STAGES)
    return folder


def test_every_stage_leaves_what_it_declares(project: Path) -> None:
    filtered = json.loads((project / "reports/filter.json").read_text())
    assert filtered["in"] == filtered["kept"] + filtered["heldout"] + sum(
        filtered["rejected"].values()
    )
    card = json.loads((project / "artifacts/px64/card.json").read_text())
    assert card["resolution_px"] == 64
    metrics = json.loads((project / "reports/evaluation.json").read_text())
    assert set(metrics["judge"]) >= {"background", "size", "colour", "shape", "all"}
    assert set(metrics["silhouette"]) == {"shape", "worst", "num"} and metrics["seed_variety"] > 0
    assert 0 <= metrics["memorised"] <= 1 and 0 <= metrics["memorised_pixels"] <= 1
    assert (project / "artifacts/evaluation/memorised.png").is_file()
    assert not {"cards", "silhouette_cells", "warnings"} & set(metrics)  # for the folder alone
    told = json.loads((project / "artifacts/evaluation/metrics.json").read_text())
    assert {"cards", "silhouette_cells", "warnings"} <= set(told)
    assert (project / "artifacts/release/MODEL_CARD.md").read_text().strip()
    assert "frechet" in run_module(project, "dvc", "metrics", "show")


@pytest.mark.row("C5")
def test_nothing_runs_twice_and_a_change_runs_only_what_it_must(project: Path) -> None:
    assert _would_run(project) == {"source"}  # it looks each time
    params = yaml.safe_load((project / "params.yaml").read_text())
    original = (project / "params.yaml").read_text()
    try:
        params["filter"]["min_side_px"] += 1
        (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        assert "filter" in _would_run(project)
        assert not {"synthesize", "encoders", "score"} & _would_run(project)
        params["filter"]["min_side_px"] -= 1
        params["superres"]["64"]["total_kimg"] = 0.2
        (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        assert "superres@64" in _would_run(project)
        assert not {"tune", "train_base", "filter"} & _would_run(project)
    finally:
        (project / "params.yaml").write_text(original)


def test_the_published_model_draws(project: Path) -> None:
    out = project / "ring.png"
    prompt = "a large red ring on a blue background"
    run_module(
        project, "pipeline.cli", "generate", prompt, "--seed", "3", "-n", "2", "--out", str(out)
    )
    assert out.read_bytes()[:4] == b"\x89PNG"
