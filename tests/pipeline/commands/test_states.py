"""`ganline states`: what a run would continue from, said before it is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from components.training.store import StateStore
from pipeline.commands.states import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    folder = tmp_path / "runs" / "base-1"
    store = StateStore(folder=folder / "states")
    for nimg in (8_000, 16_000):
        assert store.save({"a": torch.ones(10)}, {"nimg": nimg})
    return folder


def damage(run: Path, nimg: int) -> None:
    path = run / "states" / f"nimg-{nimg:012d}" / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_whole_states_are_listed_by_path_and_by_name(run: Path, capsys) -> None:
    for name in (str(run), "base-1"):
        assert main([name]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert "8.000 kimg" in first and first.endswith("whole")
        assert "16.000 kimg" in second and second.endswith("the next start continues here")


@pytest.mark.row("A6")
def test_a_damaged_state_is_named_and_the_one_that_counts_is_marked(run: Path, capsys) -> None:
    damage(run, 16_000)
    assert main(["base-1", "--json"]) == 5
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [bool(state["problem"]) for state in found] == [False, True]
    assert said.err.startswith("error: 1 of 2 states are damaged: nimg-000000016000")
    assert main(["base-1"]) == 5
    first, second = capsys.readouterr().out.splitlines()
    assert "continues here" in first and "another hash" in second
    damage(run, 8_000)
    assert main(["base-1"]) == 5
    assert "begins anew" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none", "base-2"])
def test_a_run_without_states_is_one_line(run: Path, capsys, name: str) -> None:
    (run.parent / "base-2").mkdir()
    assert main([name]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(run.parent / name) in line
