"""What DVC leaves out: compiled files must make no stage run again, in a clone either."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GRAPH = """
stages:
  make:
    cmd: python -c "import package.part; open('out.txt', 'w').write('made')"
    deps: [package]
    outs: [out.txt]
"""


def run(*command: str, cwd: Path) -> str:
    known = {"dvc": [sys.executable, "-m", "dvc"], "python": [sys.executable]}
    words = known.get(command[0], [command[0]])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [*words, *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_pulled_clone_whose_code_was_imported_is_up_to_date(tmp_path: Path) -> None:
    first, clone, remote = tmp_path / "first", tmp_path / "clone", tmp_path / "remote"
    (first / "package").mkdir(parents=True)
    (first / "package" / "part.py").write_text("VALUE = 1\n")
    (first / "dvc.yaml").write_text(GRAPH)
    run("git", "init", "--quiet", ".", cwd=first)
    run("dvc", "init", "--quiet", cwd=first)
    shutil.copy(ROOT / ".dvcignore", first)
    shutil.copy(ROOT / ".gitignore", first)
    run("dvc", "remote", "add", "--default", "near", str(remote), cwd=first)
    run("dvc", "repro", "--quiet", cwd=first)
    run("dvc", "push", "--quiet", cwd=first)
    assert "nfiles: 1\n" in (first / "dvc.lock").read_text()  # the source, not what it compiled to
    run("git", "add", ".", cwd=first)
    run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all", cwd=first)
    run("git", "clone", "--quiet", str(first), str(clone), cwd=tmp_path)
    run("dvc", "pull", "--quiet", cwd=clone)
    run("python", "-c", "import package.part", cwd=clone)
    assert list((clone / "package" / "__pycache__").iterdir())
    (clone / "package" / "part.py").touch()
    (clone / "package" / "part.py.swp").write_text("an editor is open")
    assert run("dvc", "status", cwd=clone) == "Data and pipelines are up to date.\n"
    (clone / "package" / "part.py").write_text("VALUE = 2\n")
    assert "package" in run("dvc", "status", cwd=clone)
