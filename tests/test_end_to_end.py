"""The whole graph at the tiniest size: DVC, Ray and MLflow start, every stage really runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = REPOSITORY / "tests" / "fixtures" / "tiny_params.yaml"
STAGES = (
    "synthesize",
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


def _environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "GANLINE_", "RAY_"))
    }
    return {
        **kept,
        "PATH": path,
        "PYTHONPATH": str(folder),
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@localhost",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@localhost",
    }


def _run(folder: Path, *command: str, timeout: int = 1200) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout + done.stderr


def _ran(output: str) -> set[str]:
    """Return the stages that DVC says it ran."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage")]
    return {line.split("'")[1] for line in lines}


def _would_run(folder: Path) -> set[str]:
    return _ran(_run(folder, "dvc", "repro", "--dry"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the working tree in an empty folder, with the tiny params, run once."""
    folder = tmp_path_factory.mktemp("e2e") / "project"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in tracked:
        if name.startswith("reports/") or name == "dvc.lock" or not (REPOSITORY / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, folder / name)
    shutil.copy(TINY, folder / "params.yaml")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, env=_environment(folder), check=True)
    output = _run(folder, "dvc", "repro")
    assert _ran(output) == set(STAGES)
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
    assert (project / "artifacts/release/MODEL_CARD.md").read_text().strip()
    assert "frechet" in _run(project, "dvc", "metrics", "show")


def test_nothing_runs_twice_and_a_change_runs_only_what_it_must(project: Path) -> None:
    assert _would_run(project) == set()
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
    _run(project, "pipeline.cli", "generate", prompt, "--seed", "3", "-n", "2", "--out", str(out))
    assert out.read_bytes()[:4] == b"\x89PNG"
