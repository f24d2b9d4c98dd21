"""score and filter as commands on a user's own folder, as it really is."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.graph import read_graph
from pipeline.stages import filter as filter_stage
from pipeline.stages import score
from tests.components.data.makers import encoded, picture
from tests.pipeline.params.params_example import valid

NAME = "Tom & Jerry's photos (1) $HOME; ls"


@pytest.fixture()
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path


def write_pictures(folder, count, side=24):
    for i in range(count):
        place = folder / ("cat" if i % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:03d}.png").write_bytes(encoded(picture(side, seed=i)))


def write_params(folder, source, shard_rows=8, **fields):
    values = valid()
    values["tracking"]["enabled"] = False
    values["source"] = {"path": str(source), "condition": "label", "heldout_fraction": 0.3} | fields
    values["filter"] |= {"min_side_px": 8, "shard_rows": shard_rows}
    for stage in (values["train_base"], values["superres"]["64"]):
        stage["recipe"]["clip_weight"] = 0
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def arguments_of(folder, stage, out):
    places = {"encoders": "encoders", "out": f"{out}/{stage}"}
    if stage == "filter":
        places |= {"scores": f"{out}/score", "decisions": f"{out}/decisions.parquet"}
        places |= {"report": f"{out}/filter.json", "plots": f"{out}/plots"}
    words = [x for name, place in places.items() for x in (f"--{name}", str(folder / place))]
    return [*words, "--params", str(folder / "params.yaml")]


def run(folder, stage, out="out"):
    module = {"score": score, "filter": filter_stage}[stage]
    return module.main(arguments_of(folder, stage, out))


def test_any_path_and_what_lies_in_it(world, capsys):
    source = world / NAME
    write_pictures(source, 20)
    (source / ".ipynb_checkpoints").mkdir()
    (source / "cat/cut.jpg").write_bytes(encoded(picture(40), "JPEG")[:300])
    params = write_params(world, source)
    assert run(world, "score") == 0
    said = capsys.readouterr().err
    assert "took" in said and "source.kind: image_folder" in said
    assert "1 hidden entries are no data: .ipynb_checkpoints" in said
    assert "21 rows, 1 of them unreadable: image.truncated 1" in said
    assert run(world, "filter") == 0
    report = json.loads((world / "out/filter.json").read_text())
    assert report["in"] == 21 == report["kept"] + report["heldout"] + 1
    assert json.loads((world / "out/filter/manifest.json").read_text())["label_names"] == [
        "cat",
        "dog",
    ]
    assert not list((world / "runs").glob("score-*")) + list((world / "runs").glob("filter-*"))
    # No command of the graph holds the path: no shell reads it.
    assert not [node.command for node in read_graph(params) if "Jerry" in node.command]


def test_five_pictures_are_told_which_fraction_holds_two_out(world, capsys):
    write_pictures(world / "few", 5)
    write_params(world, world / "few", heldout_fraction=0.0001)
    assert run(world, "score") == 0 and run(world, "filter") == 3
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: 0 of 5 rows held out, measuring takes 2 (source.heldout_f")
    write_params(world, world / "few", heldout_fraction=float(line.split()[-1]))
    assert run(world, "filter") == 0
    sides = pq.read_table(world / "out/decisions.parquet")["split"].to_pylist()
    assert sides.count("heldout") >= 2 and sides.count("train") >= 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.row("B17")
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.fuzz)])
def test_kills_at_random_moments_change_no_byte(world, kills):
    """Each command is killed again and again, then runs to its end."""
    source = world / "pictures"
    write_pictures(source, 1_500)
    write_params(world, source, shard_rows=200)

    def content(out):
        files = sorted(p for p in (world / out).rglob("*") if p.is_file())
        return {str(p.relative_to(world / out)): p.read_bytes() for p in files}

    moments = random.Random(0)
    environment = {**os.environ, "GANLINE_RUNS_DIR": str(world / "runs")}
    for stage in ("score", "filter"):
        start = time.monotonic()
        words = [sys.executable, "-m", f"pipeline.stages.{stage}"]
        subprocess.run([*words, *arguments_of(world, stage, "whole")], check=True, env=environment)
        seconds = time.monotonic() - start
        for _ in range(kills):
            command = [*words, *arguments_of(world, stage, "killed")]
            process = subprocess.Popen(command, env=environment)
            time.sleep(moments.uniform(0.2, 1.0) * seconds)
            process.send_signal(signal.SIGKILL)
            process.wait()
        subprocess.run([*words, *arguments_of(world, stage, "killed")], check=True, env=environment)
    assert content("killed") == content("whole")
