"""`ganline edit`, `attributes`, `blend` and the imports for editing, on a small model."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from components.artifacts.artifact import load_generator, read_card, write_artifact
from components.editing import read_channels, read_mapper
from models.editing.mapper import LatentMapper
from models.families import recipes, small_fields
from models.interfaces import Condition, ConditionShape
from pipeline.commands.attributes import main as attributes
from pipeline.commands.blend import main as blend
from pipeline.commands.edit import main as edit
from pipeline.commands.import_model import main as import_model
from pipeline.places import bundled_folder

SMALL = {"generator_network": "stylegan2", "w_dim": 8, "z_dim": 6, "num_mapping_layers": 2}
SMALL |= {"channel_base": 64, "channel_max": 8}
RED, BLUE = "a red circle", "a blue circle"


def artifact(folder, seed, parent=""):
    recipe = recipes()["projected_gan"](**{**small_fields("projected_gan"), **SMALL})
    torch.manual_seed(seed)
    state = recipe.generator(16, ConditionShape()).state_dict()
    write_artifact(
        folder,
        recipe=recipe,
        resolution=16,
        shape=ConditionShape(),
        generator_state=state,
        nimg=0,
        seed=seed,
        parent_sha256=parent,
    )
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return artifact(tmp_path_factory.mktemp("model") / "model", 0)


@pytest.fixture
def words(model, tmp_path, monkeypatch):
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    return ["--model", str(model), "--encoders", str(bundled_folder() / "encoders")]


SWEEP = ["--codes", "8", "--images", "1"]


def test_optimise_draws_before_and_after_and_repeats(words, tmp_path, capsys):
    outs = [tmp_path / "one.png", tmp_path / "two.png"]
    for out in outs:
        line = [RED, "--to", BLUE, "--seed", "3", "--steps", "3", "--out", str(out), *words]
        assert edit(line) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with Image.open(outs[0]) as image:
        assert image.size[0] > image.size[1]
    assert "optimise" in capsys.readouterr().out


def test_a_picture_is_inverted_first_and_a_direction_leads(words, tmp_path, capsys):
    picture = tmp_path / "drawing.png"
    pixels = np.full((20, 20, 3), (200, 40, 40), np.uint8)
    pixels[6:14, 6:14] = 255
    Image.fromarray(pixels).save(picture)
    line = [RED, "--to", BLUE, "--image", str(picture), "--inversion-steps", "4", "--steps", "4"]
    line += ["--clip-weight", "0", "--direction-weight", "1", *words]
    assert edit([*line, "--out", str(tmp_path / "edited.png")]) == 0
    assert "inverted: distance" in capsys.readouterr().err
    with Image.open(tmp_path / "edited.png") as image:
        assert image.size[0] > image.size[1]  # before and after
    assert (
        edit([*line, "--image", str(tmp_path / "none.png"), "--out", str(tmp_path / "x.png")]) != 0
    )
    assert "Traceback" not in capsys.readouterr().err and not (tmp_path / "x.png").exists()


def test_directions_are_swept_once_and_attributes_read_the_same_sweep(words, tmp_path, capsys):
    line = [RED, "--to", BLUE, "--method", "direction", *SWEEP, *words]
    assert edit([*line, "--strengths", "0,1,2", "--out", str(tmp_path / "row.png")]) == 0
    assert "sweeping" in capsys.readouterr().err
    assert edit([*line, "--out", str(tmp_path / "walk.gif")]) == 0
    assert "sweeping" not in capsys.readouterr().err
    out = str(tmp_path / "attributes.png")
    assert attributes(["blue", "large", "--count", "2", "--out", out, *SWEEP, *words]) == 0
    said = capsys.readouterr().out
    assert said.count("synthesis.blocks") == 4 and (tmp_path / "attributes.png").is_file()
    assert edit([*line, "--beta", "0.999", "--out", str(tmp_path / "none.png")]) == 2
    assert "would select" in capsys.readouterr().err
    assert not (tmp_path / "none.png").exists()


def test_a_mapper_is_trained_used_and_refused_for_another_model(words, tmp_path, capsys):
    out = tmp_path / "blue.safetensors"
    line = ["train-mapper", RED, "--to", BLUE, "--out", str(out), *words]
    assert edit([*line, "--steps", "2", "--batch", "1", "--codes", "2", "--levels", "fine"]) == 0
    assert list(read_mapper(out).mapper.entries) == ["fine"]
    assert not out.with_name("blue.safetensors.state").exists()
    used = ["--method", "mapper", "--mapper", str(out), "--out", str(tmp_path / "b.png")]
    assert edit([*used, *words]) == 0
    other = artifact(tmp_path / "other", 5)
    assert edit([*used, "--force", "--model", str(other), *words[2:]]) == 2
    assert "give the model that the mapper was trained for" in capsys.readouterr().err


def test_a_mapper_is_trained_by_a_file_of_sentences(words, tmp_path, capsys):
    out, pairs = tmp_path / "blue.safetensors", tmp_path / "blue.tsv"
    sizes = ["--steps", "2", "--batch", "1", "--codes", "2", "--direction-weight", "1"]
    line = ["train-mapper", "--captions", str(pairs), "--out", str(out), *sizes, *words]
    pairs.write_text(f"{RED}\t{BLUE}\na small ring on white\ta small ring on blue\n")
    assert edit(line) == 0
    stored = read_mapper(out)
    assert stored.text == "blue" and stored.facts["captions"][0] == [RED, BLUE]
    capsys.readouterr()
    for text, said in (
        (f"{RED}\t{BLUE}\n{RED}\n", "is no pair"),
        (f"{RED}\t{BLUE}\n\n", "1 blank line"),
        (f"{RED}\t{RED}\n", "no pair of sentences that differ"),
    ):
        pairs.write_text(text)
        assert edit([*line, "--force"]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    assert edit([*line, "--force", "--to", BLUE]) == 2
    assert "not both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([RED], "no text"),
        ([RED, "--to", BLUE, "--method", "direction", "--sweep-workers", "-1"], "sweep-workers"),
        ([RED, "--to", BLUE, "--strengths", "0,x"], "strengths"),
        ([RED, "--method", "mapper"], "no mapper"),
        ([RED, "--to", BLUE, "--steps", "0"], "steps is 0"),
        ([RED, "--to", BLUE, "--template", "no hole"], "template"),
        ([RED, "--to", BLUE, "--code", "a", "--image", "b"], "a code and an image"),
        ([RED, "--to", BLUE, "--clip-role", "dino"], "reads no text"),
        ([RED, "--to", BLUE, "--identity", "dino"], "no one vector"),
        ([RED, "--to", BLUE, "--out", "x.txt"], "cannot save"),
    ],
)
def test_bad_requests_are_one_line(words, capsys, line, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert edit([*line, *words]) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err
    assert not list(tmp_path.glob("*.png"))


def test_blend_lies_between_two_children_and_refuses_strangers(model, tmp_path, capsys):
    parent = read_card(model)["files"]["generator.safetensors"]
    one, two = artifact(tmp_path / "one", 1, parent), artifact(tmp_path / "two", 2, parent)
    out = tmp_path / "between"
    assert blend([str(one), str(two), "--weight", "0.25", "--out", str(out)]) == 0
    found, ends = load_generator(out)[0], [load_generator(x)[0] for x in (one, two)]
    for name, x in found.state_dict().items():
        pair = [end.state_dict()[name] for end in ends]
        assert torch.allclose(x, 0.75 * pair[0] + 0.25 * pair[1], atol=1e-4)
    assert blend([str(model), str(one), "--out", str(tmp_path / "half")]) == 0
    stranger = artifact(tmp_path / "stranger", 3, "f" * 64)
    assert blend([str(one), str(stranger), "--out", str(tmp_path / "no")]) == 2
    assert "different models" in capsys.readouterr().err and not (tmp_path / "no").exists()
    assert blend([str(one), str(two), "--weight", "2", "--out", str(tmp_path / "no")]) == 2


def published_mapper(folder, rows=6):
    """A mapper as its authors save it, beside a decoder of so many rows."""
    torch.manual_seed(4)
    mapper = LatentMapper(8, {"coarse": (0, 4), "medium": (4, 8)}, "rows")
    names = {"coarse": "course_mapping", "medium": "medium_mapping"}
    state = {}
    for ours, theirs in names.items():
        for i, layer in enumerate(mapper.groups[ours].layers):
            state[f"mapper.{theirs}.mapping.{i + 1}.weight"] = layer.weight.detach().clone()
            state[f"mapper.{theirs}.mapping.{i + 1}.bias"] = layer.bias.detach().clone()
    for j in range((rows - 2) // 2):
        state[f"decoder.to_rgbs.{j}.bias"] = torch.zeros(1, 3, 1, 1)
    path = folder / "blue.pt"
    options = {"description": BLUE, "no_fine_mapper": True, "max_steps": 50000}
    torch.save({"state_dict": state, "opts": options}, path)
    return path, mapper


def test_a_published_mapper_comes_in_with_its_rows(words, tmp_path, capsys, model):
    path, mapper = published_mapper(tmp_path)
    out = tmp_path / "mapper.safetensors"
    assert import_model([str(path), "--out", str(out)]) == 0
    stored = read_mapper(out)
    assert stored.text == BLUE and stored.mapper.norm == "rows"
    generator, _ = load_generator(model)
    ws = generator.map(torch.randn(2, 6), Condition())
    assert torch.equal(stored.mapper(ws), mapper(ws))
    assert (
        edit(["--method", "mapper", "--mapper", str(out), "--out", str(tmp_path / "m.png"), *words])
        == 0
    )
    assert import_model([str(path), "--out", str(tmp_path / "folder")]) == 2
    assert "name a .safetensors file" in capsys.readouterr().err


def test_a_direction_matrix_comes_in_with_its_statistics(words, tmp_path, capsys, model):
    generator, _ = load_generator(model)
    layers = generator.style_layers()
    total = sum(x.channels for x in layers if x.kind == "conv")
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(total, 512)).astype(np.float64)
    np.save(tmp_path / "fs3.npy", matrix)
    parts = [[rng.random(x.channels).astype(np.float32) for x in layers] for _ in range(2)]
    with (tmp_path / "S_mean_std").open("wb") as file:
        pickle.dump(parts, file)
    out = tmp_path / "channels.safetensors"
    line = [str(tmp_path / "fs3.npy"), "--out", str(out), "--model", str(model)]
    assert import_model(line) == 2
    assert import_model([*line, "--statistics", str(tmp_path / "S_mean_std")]) == 0
    channels = read_channels(out)
    kept = [x for x, layer in zip(parts[1], layers, strict=True) if layer.kind == "conv"]
    assert np.allclose(channels.deviation_C.numpy(), np.concatenate(kept))
    assert np.allclose(channels.direction_CE.numpy(), matrix)
    used = ["--to", BLUE, "--method", "direction", "--channels", str(out)]
    assert edit([RED, *used, "--out", str(tmp_path / "x.png"), *words]) == 2
    assert "this CLIP has" in capsys.readouterr().err
    np.save(tmp_path / "fs3.npy", matrix[:-1])
    assert import_model([*line, "--force", "--statistics", str(tmp_path / "S_mean_std")]) == 2
    assert f"have {total}" in capsys.readouterr().err
    with (tmp_path / "S_mean_std").open("wb") as file:
        pickle.dump([print], file)
    np.save(tmp_path / "fs3.npy", matrix)
    assert import_model([*line, "--force", "--statistics", str(tmp_path / "S_mean_std")]) == 5
    assert "refused" in capsys.readouterr().err
