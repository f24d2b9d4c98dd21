"""Artifacts that cannot be used, met by sampling and by a warm start: one line, exit 5 or 2."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.artifacts.artifact import CARD, GENERATOR
from components.artifacts.publishing import PublishConfig
from components.artifacts.release import load_release, write_release
from components.durable_files import file_hash
from components.errors import StorageError
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


def recipe_change(**fields) -> Change:
    def change(folder: Path) -> None:
        recipe = json.loads((folder / CARD).read_text())["recipe"]
        card_change(recipe={**recipe, "fields": {**recipe["fields"], **fields}})(folder)

    return change


def _pipe(folder: Path) -> None:
    (folder / CARD).unlink()
    os.mkfifo(folder / CARD)


def _cut(folder: Path) -> None:
    content = (folder / GENERATOR).read_bytes()
    (folder / GENERATOR).write_bytes(content[: len(content) // 2])


NAME = "synthesis.blocks.16.to_rgb.weight"
BAD: dict[str, tuple[Change, str]] = {
    "no card": (lambda folder: (folder / CARD).unlink(), "there is no card.json"),
    "no JSON": (lambda folder: (folder / CARD).write_text("{"), "card.json is not readable"),
    "unknown family": (
        card_change(recipe={"name": "pix2pix", "fields": {}}),
        "family 'pix2pix'; use one of gigagan, projected_gan, stylegan",
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
    "a pipe": (_pipe, "card.json is no regular file"),
    "deep JSON": (lambda folder: (folder / CARD).write_text("[" * 100_000), "nested too deeply"),
    "huge JSON": (lambda folder: os.truncate(folder / CARD, 2**25), "more than 16,777,216"),
    "a list": (lambda folder: (folder / CARD).write_text("[1]"), "it is a list, wanted an object"),
    "huge number": (lambda folder: (folder / CARD).write_text("[" + "9" * 9999 + "]"), "limit"),
    "recipe of text": (card_change(recipe="gan"), "recipe is 'gan', wanted an object"),
    "no fields": (
        card_change(recipe={"name": "stylegan_t"}),
        "wanted an object of name and fields",
    ),
    "no files": (card_change(files=None), "files is None, wanted an object"),
    "a list of files": (card_change(files=[GENERATOR]), "files is a list of 1, wanted an object"),
    "files of text": (card_change(files=GENERATOR), "wanted an object of file names"),
    "file beyond": (card_change(files={GENERATOR: "x", "a\0b": "x"}), "other sha256"),
    "seed of text": (card_change(seed="1"), "seed is '1', wanted a whole number"),
    "side of truth": (card_change(resolution_px=True), "resolution_px is True"),
    "huge side": (card_change(resolution_px=10**30), "resolution_px is a huge number"),
    "huge text": (card_change(shape={"pooled_dim": 10**9, "num_labels": 0}), "shape is an object"),
    "other names": (card_change(label_names=["a", "b"]), "2 names for 0 classes"),
    "release of text": (card_change(release="x"), "release is 'x', wanted an object"),
    "huge code": (recipe_change(z_dim=10**8), "the network would be far larger"),
    "many blocks": (recipe_change(num_res_blocks=10**6), "the network would be far larger"),
    "huge channels": (
        recipe_change(channel_base=10**9, channel_max=10**6),
        "the network would be far larger",
    ),
    "endless width": (recipe_change(z_dim=10**40), "describes no network"),
    "width of text": (recipe_change(z_dim="8"), "describes no network"),
    "width of nothing": (recipe_change(z_dim=None), "describes no network"),
    "infinity": (weights_change(lambda t: t[NAME].fill_(float("inf"))), "NaN or infinity"),
}


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.row("G13", "D4")
@pytest.mark.parametrize("fault", BAD)
def test_sampling_refuses_it(world: Path, tmp_path: Path, capsys, fault: str) -> None:
    change, says = BAD[fault]
    shutil.copytree(world / "release", tmp_path / "release")
    change(tmp_path / "release")
    out = tmp_path / "out" / "x.png"
    started = time.process_time()
    assert generate(["a red circle", "--model", str(tmp_path / "release"), "--out", str(out)]) == 5
    assert time.process_time() - started < 2
    assert says in only_line(capsys)
    assert not out.parent.exists()


@pytest.mark.row("G13")
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"architecture": {"x": 1}}, "describes no network"),
        ({"architecture": 3}, "a field of another type"),
        ({"kind": []}, "a field of another type"),
        ({"kind": "gan"}, "feature net kind 'gan'"),
        ({"sha256": "0"}, "its card says 0"),
        ({"image_size_px": 2**40}, "a field of another type"),
    ],
)
def test_sampling_refuses_a_bad_text_encoder(
    world: Path, tmp_path: Path, capsys, values: dict, says: str
) -> None:
    shutil.copytree(world / "release", tmp_path / "release")
    path = tmp_path / "release" / "text_encoder" / CARD
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    out = tmp_path / "out" / "x.png"
    assert generate(["a red circle", "--model", str(tmp_path / "release"), "--out", str(out)]) == 5
    assert says in only_line(capsys)


@pytest.mark.row("G13")
def test_a_text_encoder_far_larger_than_its_file_is_not_built(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "release", tmp_path / "release")
    path = tmp_path / "release" / "text_encoder" / CARD
    card = json.loads(path.read_text())
    card["architecture"]["text_cfg"] |= {"layers": 10**6}
    path.write_text(json.dumps(card))
    started = time.process_time()
    with pytest.raises(StorageError, match="the network would be far larger"):
        load_release(tmp_path / "release")
    assert time.process_time() - started < 2


@pytest.mark.row("A21")
@pytest.mark.parametrize("fault", BAD)
def test_a_warm_start_refuses_it(world: Path, tmp_path: Path, capsys, fault: str) -> None:
    change, says = BAD[fault]
    shutil.copytree(world / "artifacts" / "base", tmp_path / "start")
    change(tmp_path / "start")
    assert _train(world, tmp_path, RECIPE) == 5
    assert says in only_line(capsys)
    assert _left(tmp_path) == []


@pytest.mark.row("A21")
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
