"""A machine without GPU, network and compiler: the bundled model draws, and nothing waits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Any name that is looked up, and any address beyond this machine, is an error that names itself.
NO_NETWORK = """
import socket

real = socket.socket.connect


def connect(self, address):
    inside = self.family == socket.AF_UNIX or str(address[0]) in ("127.0.0.1", "::1", "localhost")
    if not inside:
        raise AssertionError(f"a connection to {address}")
    return real(self, address)


def looked_up(*words, **more):
    raise AssertionError(f"looked up {words[0]}")


socket.socket.connect = connect
socket.getaddrinfo = socket.gethostbyname = looked_up
"""
COMMANDS = {
    "generate": ["generate", "a large red ring on a blue background", "--out", "ring.png"],
    "params": [],
    "train": ["train_base", "--dry-run"],
    "data": ["data", "check", "pictures", "--picture", "pairs.png"],
}


@pytest.mark.slow
@pytest.mark.row("C7")
@pytest.mark.parametrize("name", COMMANDS)
def test_it_works_and_asks_nobody(name: str, tmp_path: Path) -> None:
    from tests.pipeline.params.params_example import valid
    from tests.pipeline.stages.test_own_data import write_pictures

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_NETWORK)
    (tmp_path / "bin").mkdir()
    write_pictures(tmp_path / "pictures", 12, side=70)
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    if name == "train":
        import yaml

        (tmp_path / "params.yaml").write_text(yaml.safe_dump(valid()))
    environment = {
        "PATH": str(tmp_path / "bin"),  # no compiler, no git
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)]),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    module = "pipeline.params" if name == "params" else "pipeline.cli"
    words = ["--markdown"] if name == "params" else COMMANDS[name]
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AssertionError" not in done.stderr and "Traceback" not in done.stderr
    if name == "generate":
        assert (tmp_path / "ring.png").read_bytes().startswith(b"\x89PNG")
