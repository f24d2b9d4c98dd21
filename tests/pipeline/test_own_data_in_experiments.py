"""Data of one's own in DVC experiments that run in a copy of the project: tracked, or far away."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COUNT = "import os, sys; open('out.txt', 'w').write(' '.join(sorted(os.listdir(sys.argv[1]))))"


def run(folder: Path, *words: str) -> str:
    result = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with our .gitignore, a stage that reads `source.path`, and pictures of a user's."""
    folder = tmp_path / "project"
    (folder / "data" / "classes").mkdir(parents=True)
    (folder / "data" / "classes" / "a.png").write_bytes(b"a")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "far.png").write_bytes(b"b")
    shutil.copy(ROOT / ".gitignore", folder)
    (folder / "count.py").write_text(COUNT)
    (folder / "params.yaml").write_text(yaml.safe_dump({"source": {"path": "data/classes"}}))
    stage = {"cmd": f"{sys.executable} count.py ${{source.path}}", "deps": ["${source.path}"]}
    stages = {"count": {**stage, "params": ["source.path"], "outs": ["out.txt"]}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.email", "x@example.org")
    run(folder, "git", "config", "user.name", "x")
    run(folder, sys.executable, "-m", "dvc", "init", "-q")
    return folder


@pytest.mark.slow
@pytest.mark.row("G23")
def test_tracked_data_and_data_far_away_are_found_in_a_copy(project: Path) -> None:
    dvc = (sys.executable, "-m", "dvc")
    run(project, *dvc, "add", "-q", "data/classes")
    run(project, "git", "add", ".")
    assert "data/classes.dvc" in run(project, "git", "ls-files")
    assert "data/classes/a.png" not in run(project, "git", "ls-files")
    run(project, "git", "commit", "-qm", "start")
    run(project, *dvc, "exp", "run", "--temp", "-q", "-n", "tracked")
    far = project.parent / "pictures"
    run(project, *dvc, "exp", "run", "--temp", "-q", "-n", "far", "-S", f"source.path={far}")
    assert {"tracked", "far"} <= set(run(project, *dvc, "exp", "list", "--name-only").split())
