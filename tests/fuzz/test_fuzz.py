"""Thousands of seeded mutants: each is taken, or refused with its own error within two seconds."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from components.artifacts.artifact import CARD, load_generator
from components.errors import ConfigError, StorageError
from models.families import recipes, small_fields
from models.interop.checkpoint_file import read_checkpoint
from models.interop.foreign_network import networks_in
from pipeline.params.sections import load_params
from tests.fuzz.mutations import count, files, objects, texts
from tests.pipeline.params.params_example import valid
from tests.pipeline.trained_world import textless_release

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1800)]
SECONDS = 2.0


@contextmanager
def quickly(what: str) -> Iterator[None]:
    started = time.process_time()
    yield
    took = time.process_time() - started
    assert took < SECONDS, f"{what} took {took:.1f} s"


def refused(error: Exception) -> bool:
    """Whether an error is one line that a terminal can show."""
    return str(error).isprintable() and len(str(error)) < 4_000


@pytest.mark.row("C1", "G15")
def test_parameters(tmp_path: Path) -> None:
    path, ends = tmp_path / "params.yaml", Counter()
    for number, text in texts(yaml.safe_dump(valid(), sort_keys=False), 2_000):
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        with quickly(f"mutant {number}"):
            try:
                load_params(path)
                ends["taken"] += 1
            except ConfigError as error:
                assert refused(error), number
                ends["refused"] += 1
    assert ends["refused"] > count(2_000) / 2, ends
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.row("G13")
def test_cards(tmp_path: Path) -> None:
    name = next(iter(recipes()))
    recipe = recipes()[name](**small_fields(name))  # type: ignore[abstract]
    release = textless_release(tmp_path / "release", ["cat", "dog"], recipe)
    card = json.loads((release / CARD).read_text())
    before, ends = sorted(p.name for p in release.iterdir()), Counter()
    load_generator(release)  # imports are not the mutants' time
    for number, mutant in objects(card, 2_000):
        (release / CARD).write_text(json.dumps(mutant))
        with quickly(f"mutant {number}"):
            try:
                load_generator(release)
                ends["taken"] += 1
            except StorageError as error:
                assert refused(error), number
                ends["refused"] += 1
    assert ends["refused"] > count(2_000) / 10, ends
    assert sorted(p.name for p in release.iterdir()) == before
    shutil.rmtree(release)


@pytest.mark.row("D3", "G16")
@pytest.mark.parametrize("kind", ["pickle", "zip", "old"])
def test_pickles(tmp_path: Path, kind: str) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    if kind == "pickle":
        content = pickle.dumps({"G_ema": {"a": list(range(300)), "b": {"c": (1, "x", b"y")}}})
    else:
        buffer = io.BytesIO()
        value = {"g_ema": network.state_dict(), "step": 3}
        torch.save(value, buffer, _use_new_zipfile_serialization=kind == "zip")
        content = buffer.getvalue()
    path, ends = tmp_path / "x.pt", Counter()
    for number, data in files(content, 5_000 // 3 + 1):
        path.write_bytes(data)
        with quickly(f"mutant {number}"):
            try:
                networks_in(read_checkpoint(path))[0].read()
                ends["taken"] += 1
            except ValueError as error:  # Refused is one
                assert len(str(error)) < 2_000, number
                ends["refused"] += 1
    assert ends["refused"] > count(5_000 // 3 + 1) / 10, ends
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]
