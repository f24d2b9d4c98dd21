"""Every path that a command takes: with spaces, not of ASCII, behind a link, or not to be used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.artifacts.artifact import CARD, GENERATOR
from components.training.store import StateStore
from pipeline import cli
from pipeline.stages import score, synthesize, train_base
from tests.pipeline import trained_world
from tests.pipeline.stages.test_own_data import write_params, write_pictures
from tests.pipeline.tiny_world import write_params as write_tiny_params
from tests.privileges import as_an_owner_without_privileges

ROOT = Path(__file__).parents[3]
BUNDLED = ROOT / "bundled" / "release"
ODD = "my f\u00f6\u00f6 \u65e5\u672c (1) & 'it' $HOME"
PROMPT = "a large red ring on a blue background"

# Command -> its words; {read} holds what is read, {out} is where it writes.
SAMPLING = {
    "generate": ["generate", PROMPT, "--model", "{read}/release", "--out", "{out}/ring.png"],
    "generate to a folder": [
        *("generate", PROMPT, "--model", "{read}/release", "--out", "{out}/rings/"),
        *("--prompts-file", "{read}/prompts.txt"),
    ],
    "mix": [
        *("mix", PROMPT, "--rows", "0", "--cols", "1", "--model", "{read}/release"),
        *("--out", "{out}/mix.png"),
    ],
    "sweep": [
        *("sweep", PROMPT, "--seeds", "0", "--psis", "0,1", "--model", "{read}/release"),
        *("--out", "{out}/sweep.png"),
    ],
    "interpolate": [
        *("interpolate", PROMPT, "--seeds", "0,1", "--frames", "2", "--model", "{read}/release"),
        *("--out", "{out}/walk.gif"),
    ],
    "blend": ["blend", "{read}/one", "{read}/two", "--out", "{out}/between"],
}
WRITING = {
    **SAMPLING,
    "data": ["data", "check", "{read}/pictures", "--picture", "{out}/pairs.png"],
    "synthesize": [
        *("synthesize", "--raw", "{out}/raw", "--truth", "{out}/truth"),
        *("--params", "{read}/tiny.yaml"),
    ],
    "score": [
        *("score", "--encoders", "{read}/encoders", "--out", "{out}/scores"),
        *("--params", "{read}/params.yaml"),
    ],
    "train_base": [
        *("train_base", "--data", "{read}/data/train", "--encoders", "{read}/artifacts/encoders"),
        *("--out", "{out}/base", "--params", "{read}/tiny.yaml", "--dry-run"),
    ],
    "report": ["report", "--params", "{read}/tiny.yaml"],
    "states": ["states", "{read}/run"],
}
STAGES = {"synthesize": synthesize.main, "score": score.main, "train_base": train_base.main}
SAY_ONLY = ("train_base", "states")  # write nothing


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """What the commands read."""
    folder = tmp_path_factory.mktemp("read")
    trained_world.trained_world(folder)
    shutil.copytree(BUNDLED, folder / "release")
    shutil.copytree(folder / "artifacts" / "base", folder / "one")
    write_child(folder / "one", folder / "two")
    (folder / "prompts.txt").write_text("a red cross\n")
    write_pictures(folder / "pictures", 12, side=70)
    splits = ("pairs", "encoders_pairs", "judge_pairs", "validation_pairs", "test_pairs")
    drawn = dict.fromkeys(splits, 12) | {"workers": 1}
    write_tiny_params(folder, synthesize=drawn).rename(folder / "tiny.yaml")
    write_params(folder, "{source}")
    (folder / "run").mkdir()
    StateStore(folder=folder / "run" / "states").save({}, {"nimg": 8})
    return folder


def write_child(parent: Path, child: Path) -> None:
    """Write an artifact that says it was adapted from another."""
    shutil.copytree(parent, child)
    card = json.loads((child / CARD).read_text())
    card["parent_sha256"] = json.loads((parent / CARD).read_text())["files"][GENERATOR]
    (child / CARD).write_text(json.dumps(card))


def read_from(everything: Path, place: Path) -> Path:
    """Copy what the commands read to a place, and let params.yaml name its pictures there."""
    shutil.copytree(everything, place, symlinks=True)
    params = place / "params.yaml"
    params.write_text(params.read_text().replace("'{source}'", json.dumps(str(place / "pictures"))))
    return place


def run(name: str, read: Path, out: Path, capsys) -> tuple[int, list[str]]:
    """Run a command; return its exit code and the lines of stderr."""
    first, *words = [word.format(read=read, out=out) for word in WRITING[name]]
    main = STAGES[first] if first in STAGES else lambda words: cli.main([first, *words])
    capsys.readouterr()
    code = main(words)
    return code, capsys.readouterr().err.splitlines()


def content(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The working folder, with a dvc.yaml, as a project has it."""
    folder = tmp_path / ODD
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(folder / "runs"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def odd(everything, tmp_path_factory) -> Path:
    return read_from(everything, tmp_path_factory.mktemp("odd") / ODD)


@pytest.fixture(scope="module")
def plain(everything, tmp_path_factory) -> Path:
    return read_from(everything, tmp_path_factory.mktemp("plain") / "read")


@pytest.fixture(scope="module")
def linked(everything, tmp_path_factory) -> Path:
    """A link to a folder whose pictures and release are links as well."""
    far = tmp_path_factory.mktemp("linked")
    link = far / "a link"
    link.symlink_to(far / "folder", target_is_directory=True)
    read_from(everything, far / "folder")
    for name in ("pictures", "release"):
        (far / "folder" / name).rename(far / f"far {name}")
        (far / "folder" / name).symlink_to(far / f"far {name}", target_is_directory=True)
    return link


@pytest.mark.row("A18")
@pytest.mark.parametrize("place", ["odd", "linked"])
@pytest.mark.parametrize("name", WRITING)
def test_it_reads_and_writes_at_any_place(name, place, request, tmp_path, elsewhere, capsys):
    read = request.getfixturevalue(place)
    out = tmp_path / "\u00fcnder a long n\u00e4me"
    if place == "linked":
        (tmp_path / "far").mkdir()
        out.symlink_to(tmp_path / "far", target_is_directory=True)
    code, lines = run(name, read, out, capsys)
    assert code == 0, lines
    written = content(elsewhere / "reports") if name == "report" else content(out)
    assert name in SAY_ONLY or written


# What cannot be used


def below_a_file(folder: Path) -> Path:
    (folder / "a file").write_text("x")
    return folder / "a file" / "out"


def read_only(folder: Path) -> Path:
    out = folder / "read only"
    out.mkdir()
    out.chmod(0o555)
    return out


def read_only_by_link(folder: Path) -> Path:
    (folder / "link").symlink_to(read_only(folder), target_is_directory=True)
    return folder / "link"


def linked_in_a_ring(folder: Path) -> Path:
    (folder / "ring").symlink_to(folder / "ring")
    return folder / "ring"


def name_too_long(folder: Path) -> Path:
    return folder / ("x" * 300)


PLACES: list[Callable[[Path], Path]] = [
    below_a_file,
    read_only,
    read_only_by_link,
    linked_in_a_ring,
    name_too_long,
]


@pytest.mark.row("A18")
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("name", [n for n in WRITING if n not in (*SAY_ONLY, "report")])
def test_a_place_that_cannot_be_written_to_is_one_line(name, place, plain, tmp_path, capsys):
    out = place(tmp_path)
    before = content(tmp_path)
    with as_an_owner_without_privileges():
        code, lines = run(name, plain, out, capsys)
    assert code in (2, 5), lines
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and errors == lines[-1:], lines
    assert "unexpected" not in errors[0] and not any("Traceback" in line for line in lines)
    assert not {name for name in content(tmp_path) - before if not name.startswith(f"{ODD}/")}


@pytest.mark.row("A18")
@pytest.mark.parametrize(
    "hidden", ["release", "pictures", "params.yaml", "prompts.txt", "tiny.yaml"]
)
def test_what_may_not_be_read_is_one_line(hidden, everything, tmp_path, capsys):
    users = {
        "release": "generate",
        "pictures": "score",
        "params.yaml": "score",
        "prompts.txt": "generate to a folder",
        "tiny.yaml": "train_base",
    }
    read = read_from(everything, tmp_path / "read")
    (read / hidden).chmod(0)
    try:
        with as_an_owner_without_privileges():
            code, lines = run(users[hidden], read, tmp_path / "out", capsys)
    finally:
        (read / hidden).chmod(0o755)
    assert code in (2, 3, 5), lines
    assert hidden in lines[-1] and lines[-1].startswith("error: "), lines
    assert not any("Traceback" in line for line in lines)


@pytest.mark.row("A18")
@pytest.mark.fuzz
@pytest.mark.timeout(900)
def test_a_whole_training_on_ray_in_such_a_folder(tmp_path):
    """Project, TMPDIR and run folder with spaces and letters of other scripts."""
    from tests.pipeline import tiny_world
    from tests.pipeline.command import checkout, train_words
    from tests.pipeline.command import run as run_command

    world = tiny_world.write_world(checkout(tmp_path / ODD))
    tiny_world.write_params(world)
    (world / "tmp dir").mkdir()
    code, log = run_command(world, *train_words(), TMPDIR=str(world / "tmp dir"))
    assert code == 0, log
    assert (world / "artifacts/base/generator.safetensors").is_file()
    picture = np.asarray(Image.open(next((world / "artifacts/base/samples").glob("*.png"))))
    assert picture.size and os.fspath(world) in str(world.resolve())
