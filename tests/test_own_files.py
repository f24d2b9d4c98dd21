"""A user's own files, untracked and of any kind, make no test fail."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house_source import ROOT, files

OWN = {
    "notes.md": "my notes",
    "own experiment.py": "def broken(:\n",
    "models/own_gan.py": "import ray\n",
    "pipeline/commands/utils.py": "import mlflow\nFAMILY = 'stylegan_t'\n",
    "components/data/loud.py": "x = '" + "y" * 300 + "'\n",
    "presets/mine.yaml": "seed: not a number\n",
    "docs/mine.md": "[nowhere](nowhere.md)\n",
    "tests/fixtures/parity/mine.safetensors": "no tensors",
    "my pictures/cat.png": "no picture",
}
# The tests that look at the repository itself.
LOOKING = (
    "tests/test_house.py",
    "tests/test_imports.py",
    "tests/test_docs.py",
    "tests/pipeline/test_graph.py",
    "tests/pipeline/params/test_docs.py",
    "tests/pipeline/params/test_presets.py",
    "tests/pipeline/params/test_params.py::test_every_preset_is_valid",
    "tests/models/interop/test_parity.py::test_every_fixture_agrees",
)


@pytest.mark.slow
def test_own_files_make_no_test_fail(tmp_path: Path) -> None:
    for name in files():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow"]
    result = subprocess.run([*command, *LOOKING], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-4000:]
    status = subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=tmp_path, capture_output=True, text=True
    )
    assert " passed" in result.stdout and " M " not in status.stdout
