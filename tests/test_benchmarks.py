"""Benchmarks run, in every mode, and compare rightly; how fast is no business of a test."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks import (
    adaptation,
    adaptive,
    data_rate,
    editing,
    images_to_distance,
    inverted_edits,
    upscaling,
)
from benchmarks.stylegan_t import main
from components.errors import Interrupted
from tests.pipeline.commands.test_editing_commands import artifact
from tests.pipeline.tiny_world import SIDE, write_params, write_world


@pytest.mark.slow
def test_every_part_is_measured_in_every_mode(tmp_path, capsys) -> None:
    out = tmp_path / "speed.json"
    sizes = ["--preset", "tiny", "--resolution", "16", "--rounds", "1", "--guidance", "none"]
    assert main([*sizes, "--checkpoint", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert {"device", "threads", "torch"} <= result["machine"].keys()
    cases = {(row["part"], row["case"]) for row in result["rows"]}
    assert len(cases) == len(result["rows"]) == 2 * 6 + 3 * 5
    assert all(row["seconds"] > 0 and row["ratio"] > 0 for row in result["rows"])
    assert all(row["ratio"] == 1 for row in result["rows"] if row["case"] == "textbook fp32")
    assert "discriminator step" in capsys.readouterr().out


@pytest.mark.slow
def test_images_to_a_distance_are_counted_on_the_same_images(tmp_path, capsys) -> None:
    world = write_world(tmp_path)
    params = write_params(world)
    values = yaml.safe_load(params.read_text())
    sizes = {"z_dim": 8, "base_channels": 2, "discriminator_max": 4, "head_kernel_size": 3}
    values["train_base"] |= {
        "recipe": {"name": "projected_gan", "discriminator_network": "vit", **sizes},
        "resolution_px": SIDE,
        "batch": 8,
        "micro_batch": 8,
    }
    params.write_text(yaml.safe_dump(values))
    words = [str(params), "--kimg", "0.048", "--every", "0.016", "--num", "20", "--net", "dino"]
    words += ["--data", str(world / "data/train"), "--encoders", str(world / "artifacts/encoders")]
    words += ["--csv", str(tmp_path / "c.csv"), "--json", str(tmp_path / "c.json")]
    words += ["--pictures", str(tmp_path), "--case", "vit", "--case", "vit again,train.batch=8"]
    words += ["--case", "pixels,discriminator_network=pixels,pixel_scales=2"]
    assert images_to_distance.main(words) == 0
    curves = json.loads((tmp_path / "c.json").read_text())["curves"]
    assert [p["images"] for p in curves["pixels"]] == [0, 16, 32, 48]
    distances = {name: [p["distance"] for p in points] for name, points in curves.items()}
    assert distances["vit"] == distances["vit again"] != distances["pixels"]
    assert distances["vit"][0] == distances["pixels"][0]  # the same untrained generator
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    assert len(rows) == 12 and (tmp_path / "vit.png").is_file()
    assert "pixels at its end" in capsys.readouterr().out


def test_a_comparison_that_is_ended_early_keeps_what_it_reached(tmp_path, monkeypatch) -> None:
    def ends(name: str, changes: object, options: object, points: list) -> None:
        points += [{"images": 0.0, "distance": 9.0, "cpu_s": 0.0}]
        if name == "b":
            raise Interrupted("stopped by SIGTERM at nimg 16", "training", "run it again")
        points += [{"images": 16.0, "distance": 8.0, "cpu_s": 1.0}]

    monkeypatch.setattr(images_to_distance, "run_case", ends)
    cases = [word for name in ("a", "b", "c") for word in ("--case", name)]
    words = ["none.yaml", "--kimg", "1", *cases, "--csv", str(tmp_path / "c.csv")]
    assert images_to_distance.main(words) == Interrupted.exit_code
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    assert [(row["series"], row["images"]) for row in rows] == [("a", "0"), ("a", "16"), ("b", "0")]


def test_the_comparison_takes_the_first_point_that_is_as_near() -> None:
    def points(*distances: float) -> list[dict[str, float]]:
        return [{"images": 10.0 * i, "distance": d} for i, d in enumerate(distances)]

    curves = {"fast": points(9, 4, 3, 5), "never": points(9, 8, 7, 6), "slow": points(9, 7, 6, 5)}
    compared = images_to_distance.compare(curves, ["slow"])
    assert compared["fast"] == {"reference": "slow", "images": 10.0, "times_fewer": 3.0}
    assert compared["never"] == {"reference": "slow", "images": None, "times_fewer": None}
    # Of two references the better one counts, and neither is compared.
    assert images_to_distance.compare(curves, ["never", "slow"]) == {"fast": compared["fast"]}
    # Ended before its reference began.
    assert images_to_distance.compare({"fast": points(9, 4)}, ["slow"]) == {}


def test_a_case_takes_numbers_as_people_type_them() -> None:
    words = "x,rate=3e-3,many=2E+4,point=1.0e-4,whole=12,text=e3,flag=true"
    name, fields = images_to_distance.read_case(words)
    assert name == "x" and fields == {
        "rate": 0.003, "many": 20000.0, "point": 0.0001, "whole": 12,
        "text": "e3", "flag": True,
    }  # fmt: skip


def test_an_unknown_reference_is_refused(tmp_path, capsys) -> None:
    words = ["none.yaml", "--kimg", "1", "--case", "a", "--case", "b,x=1", "--reference", "c"]
    with pytest.raises(SystemExit) as stopped:
        images_to_distance.main(words)
    assert stopped.value.code == 2
    assert "--reference c: the cases are a, b" in capsys.readouterr().err


def test_adaptations_are_counted_on_the_same_codes(tmp_path, capsys) -> None:
    sizes = "train.total_kimg=0.002,train.batch=2,train.micro_batch=2,selection_batch=1"
    words = ["presets/nada_shapes.yaml", "--start", "bundled/release", "--num", "6"]
    words += ["--case", f"short,blue_ground,{sizes},watch_images=2", "--out", str(tmp_path)]
    assert adaptation.main([*words, "--json", str(tmp_path / "n.json")]) == 0
    found = json.loads((tmp_path / "n.json").read_text())["short"]
    assert (found["attribute"], found["value"], found["num"]) == ("background", "blue", 6)
    assert set(found["kept"]) == {"colour", "shape", "size"}
    assert min(found["kept"].values()) > 0.5 and 0.8 < found["diversity"] < 1.2  # two images
    assert found["nimg"] == 2
    pictures = [Image.open(tmp_path / f"{name}.png") for name in ("short", "all")]
    assert pictures[0].size == pictures[1].size  # of 6 codes both have one row of each model
    assert "| short | background: blue |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="the entries of adapt are"):
        adaptation.main([*words, "--case", "none"])


def test_edits_of_all_methods_are_counted(tmp_path, capsys) -> None:
    model = artifact(tmp_path / "model", 0)
    words = [str(model), "--out", str(tmp_path / "out"), "--num", "3", "--batch", "2"]
    words += ["--want", "background", "--steps", "2", "--mapper-steps", "1", "--sweep-images", "1"]
    words += ["--sweep-codes", "4", "--strengths", "1,2", "--json", str(tmp_path / "n.json")]
    assert editing.main(words) == 0
    rows = json.loads((tmp_path / "n.json").read_text())
    names = ["optimise", "mapper", "direction, alpha 1", "direction, alpha 2"]
    assert [row["method"] for row in rows] == names
    assert all(row["before"] == 0 and row["num"] == 3 for row in rows)
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    assert "| mapper | background: blue |" in capsys.readouterr().out
    assert editing.main([*words, "--words", "--method", "optimise", "--space", "s"]) == 0
    assert json.loads((tmp_path / "n.json").read_text())[0]["settings"]["words"] == "True"


def test_drawings_are_inverted_and_edited(tmp_path, capsys) -> None:
    words = ["bundled/release", "--num", "1", "--inversion-steps", "1", "--steps", "1"]
    assert inverted_edits.main([*words, "--out", str(tmp_path / "edited.png")]) == 0
    width, height = Image.open(tmp_path / "edited.png").size
    assert height > 2 * width  # the drawing, the image that was found, the edited one
    line = capsys.readouterr().out
    assert line.startswith("drawn ") and "; found " in line and "; edited " in line


def test_adaptive_layers_are_compared_with_the_same_maths(tmp_path) -> None:
    import torch

    from benchmarks.adaptive_plain import plain_layers
    from models.gigagan.recipe import GigaGAN
    from models.interfaces import Condition, ConditionShape

    for more in ({}, {"likeness": "distance", "tied": False, "kernels": (1, 2)}):
        torch.manual_seed(0)
        recipe = GigaGAN(**{**adaptive.SIZES, **adaptive.TINY, **more})
        model = recipe.generator(32, ConditionShape())
        z, condition = torch.randn(3, model.z_dim), Condition()
        ours = model.synthesize(model.map(z, condition), condition)
        with plain_layers():
            textbook = model.synthesize(model.map(z, condition), condition)
        error = (ours - textbook).abs().max() / ours.abs().max()
        assert 0 < error < 2e-5
    assert adaptive.main(["--tiny", "--rounds", "1", "--json", str(tmp_path / "x.json")]) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert [row["kernels"] for row in found["banks"]] == [1, 2, 4, 8, 16]
    assert [row["batch"] for row in found["networks"]] == [1, 1, 4, 4]
    assert all(row["forward + backward"]["ratio"] > 0 for row in found["networks"])


@pytest.mark.slow
def test_enlarging_is_measured_at_two_sizes(tmp_path) -> None:
    out = tmp_path / "x.json"
    assert upscaling.main(["--sizes", "64x64", "64x128", "--json", str(out)]) == 0
    assert [row["input"] for row in json.loads(out.read_text())] == ["64x64", "64x128"]


@pytest.mark.slow
def test_the_rate_of_the_data_stages_is_measured_beside_another_checkout(tmp_path) -> None:
    out = tmp_path / "x.json"
    # Fewer images differ from the first turns by less than what a busy machine adds.
    sizes = ["--sides", "64", "--rounds", "1", "--share", "0.25", "--json", str(out)]
    assert data_rate.main([*sizes, "--other", str(Path(__file__).parents[1])]) == 0
    rows = json.loads(out.read_text())
    assert [row["code"] for row in rows] == ["here", "other"]
    for row in rows:
        assert row["images_per_s"] > 0 and all(row[part] > 0 for part in data_rate._PARTS)
