"""Artifacts that cannot be used, met by sampling and by a warm start: one line, exit 5 or 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.artifacts.artifact import CARD, GENERATOR
from components.artifacts.publishing import PublishConfig
from components.artifacts.release import write_release
from components.durable_files import file_hash
from components.training.__main__ import main as train
from pipeline.commands.generate import main as generate
from tests.pipeline.tiny_world import RECIPE, TRAIN
from tests.pipeline.trained_world import trained_world

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_world(tmp_path_factory.mktemp("world"))
    (folder / "samples.png").write_bytes(b"")
    write_release(
        folder / "release",
        artifact=folder / "artifacts" / "base",
        encoders=folder / "artifacts" / "encoders",
        metrics={},
        samples=folder / "samples.png",
        config=PublishConfig(),
    )
    return folder


def card_change(**values) -> Change:
    def change(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps({**card, **values}))

    return change


def weights_change(edit: Callable[[dict], object]) -> Change:
    """Change the tensors and make the card name the new file, so that its hash is right."""

    def change(folder: Path) -> None:
        tensors = load_file(folder / GENERATOR)
        edit(tensors)
        save_file(tensors, folder / GENERATOR)
        card = json.loads((folder / CARD).read_text())
        card["files"][GENERATOR] = file_hash(folder / GENERATOR)
        (folder / CARD).write_text(json.dumps(card))

    return change


def _cut(folder: Path) -> None:
    content = (folder / GENERATOR).read_bytes()
    (folder / GENERATOR).write_bytes(content[: len(content) // 2])


NAME = "synthesis.blocks.16.to_rgb.weight"
BAD: dict[str, tuple[Change, str]] = {
    "no card": (lambda folder: (folder / CARD).unlink(), "there is no card.json"),
    "no JSON": (lambda folder: (folder / CARD).write_text("{"), "card.json is not readable"),
    "unknown family": (
        card_change(recipe={"name": "pix2pix", "fields": {}}),
        "family 'pix2pix'; use one of projected_gan, stylegan_t",
    ),
    "unknown field": (
        card_change(recipe={"name": "stylegan_t", "fields": {"depth": 3}}),
        "family stylegan_t has no field depth",
    ),
    "another resolution": (card_change(resolution_px=32), "missing: synthesis.blocks.32."),
    "impossible resolution": (card_change(resolution_px=24), "resolution must be a power of two"),
    "other widths": (card_change(shape={"pooled_dim": 4, "num_labels": 0}), "other shape: "),
    "odd shape": (card_change(shape={"pooled_dim": 16, "width": 4}), "describes no network"),
    "cut file": (_cut, "other sha256"),
    "no safetensors": (
        lambda folder: [
            (folder / GENERATOR).write_bytes(b"x" * 100),
            card_change(files={GENERATOR: file_hash(folder / GENERATOR)})(folder),
        ],
        "not readable as safetensors",
    ),
    "missing tensor": (weights_change(lambda t: t.pop(NAME)), f"missing: {NAME}"),
    "another tensor": (weights_change(lambda t: t.update(x=torch.ones(1))), "unknown: x"),
    "NaN": (weights_change(lambda t: t[NAME].fill_(float("nan"))), f"NaN or infinity in {NAME}"),
    "infinity": (weights_change(lambda t: t[NAME].fill_(float("inf"))), "NaN or infinity"),
}


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("fault", BAD)
def test_sampling_refuses_it(world: Path, tmp_path: Path, capsys, fault: str) -> None:
    change, says = BAD[fault]
    shutil.copytree(world / "release", tmp_path / "release")
    change(tmp_path / "release")
    out = tmp_path / "out" / "x.png"
    assert generate(["a red circle", "--model", str(tmp_path / "release"), "--out", str(out)]) == 5
    assert says in only_line(capsys)
    assert not out.parent.exists()


@pytest.mark.parametrize("fault", BAD)
def test_a_warm_start_refuses_it(world: Path, tmp_path: Path, capsys, fault: str) -> None:
    change, says = BAD[fault]
    shutil.copytree(world / "artifacts" / "base", tmp_path / "start")
    change(tmp_path / "start")
    assert _train(world, tmp_path, RECIPE) == 5
    assert says in only_line(capsys)
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    ("recipe", "train_fields", "says"),
    [
        ({**RECIPE, "channel_max": 8}, {}, "the start does not fit the generator"),
        (RECIPE, {"resolution_px": 8}, "the start has 16 px and this stage 8 px"),
    ],
)
def test_a_start_of_other_sizes_is_a_wrong_parameter(
    world: Path, tmp_path: Path, capsys, recipe, train_fields, says
) -> None:
    shutil.copytree(world / "artifacts" / "base", tmp_path / "start")
    assert _train(world, tmp_path, recipe, **train_fields) == 2
    assert says in only_line(capsys)
    assert _left(tmp_path) == []


def _train(world: Path, folder: Path, recipe: dict, **train_fields) -> int:
    """Run `python -m components.training` from folder/start into folder/run and folder/out."""
    job = {
        "stage": "superres 32",
        "seed": 1,
        "recipe": recipe,
        "train": {**TRAIN, **train_fields},
        "run_dir": str(folder / "run"),
        "data_dir": str(world / "data" / "train"),
        "encoders_dir": str(world / "artifacts" / "encoders"),
        "start_dir": str(folder / "start"),
        "artifact_dir": str(folder / "out"),
    }
    (folder / "job.json").write_text(json.dumps(job))
    return train([str(folder / "job.json"), "--device", "cpu"])


def _left(folder: Path) -> list[str]:
    """Return the weights that a refused training left: none."""
    return [str(p) for part in ("run", "out") for p in (folder / part).rglob("*.safetensors")]
