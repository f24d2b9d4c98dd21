"""The artifact folder: what is written is read, what is damaged is refused with its name."""

import json
import re
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import models.families
from components.artifacts import artifact
from components.artifacts.artifact import load_generator, load_start, read_card, write_artifact
from components.artifacts.family import recipe_fields, recipe_from
from components.errors import ConfigError, StorageError
from models.families import Family
from tests.components.training.fake_recipes import FakeGAN, FakeSource, fake_site


@pytest.fixture(autouse=True)
def families(monkeypatch):
    family = Family(recipe="tests.components.training.fake_recipes:FakeGAN")
    monkeypatch.setattr(models.families, "FAMILIES", {"fake_gan": family})


@pytest.fixture
def networks():
    torch.manual_seed(2)
    return FakeGAN().build(fake_site()).trained


@pytest.fixture
def folder(tmp_path, networks):
    target = tmp_path / "base"
    write_artifact(
        target,
        recipe=FakeGAN(weight=0.5, widths=(3, 4)),
        resolution=8,
        shape=FakeSource.shape,
        generator_state=networks["generator"].state_dict(),
        nimg=80,
        seed=3,
        parent_sha256="p",
        data_content_hash="d",
        encoders={"clip": "c"},
        fingerprint="f",
        discriminator_state=networks["discriminator"].state_dict(),
        samples=Image.new("RGB", (8, 8)),
        metrics={"loss": 1.5},
    )
    return target


def test_written_and_read(folder, networks):
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "generator.safetensors",
        "discriminator.safetensors",
        "card.json",
        "samples.png",
        "metrics.json",
    }
    generator, card = load_generator(folder, family="fake_gan", resolution=8)
    assert not generator.training and not any(p.requires_grad for p in generator.parameters())
    for name, tensor in networks["generator"].state_dict().items():
        assert torch.equal(generator.state_dict()[name], tensor)
    assert card["recipe"] == {
        "name": "fake_gan",
        "fields": {"weight": 0.5, "learning_rate": 0.002, "widths": [3, 4]},
    }
    shape = {"pooled_dim": 0, "token_dim": 0, "num_labels": 3, "class_dim": 0}
    assert card["shape"] == shape
    assert (card["format"], card["resolution_px"], card["nimg"], card["seed"]) == (1, 8, 80, 3)
    assert (card["parent_sha256"], card["data_content_hash"]) == ("p", "d")
    assert card["encoders"] == {"clip": "c"} and card["fingerprint"] == "f"
    assert set(card["files"]) == names - {"card.json"}
    assert json.loads((folder / "metrics.json").read_text()) == {"loss": 1.5}


def test_a_start_has_the_tensors_of_both_networks(folder, networks):
    start = load_start(folder, family="fake_gan")
    assert torch.equal(start.generator["rgb.weight"], networks["generator"].rgb.weight)
    assert torch.equal(start.discriminator["u"], networks["discriminator"].u)
    write_artifact(
        folder,
        recipe=FakeGAN(),
        resolution=8,
        shape=FakeSource.shape,
        generator_state=networks["generator"].state_dict(),
        nimg=1,
        seed=0,
    )
    replaced = load_start(folder)
    assert replaced.discriminator is None and replaced.card["nimg"] == 1
    assert sorted(p.name for p in folder.parent.iterdir()) == ["base"]


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _edit(**changes):
    def damage(folder):
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps(card | changes))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: shutil.rmtree(f), "there is no card.json"),
        (lambda f: (f / "card.json").write_text('{"format'), "card.json is not readable"),
        (lambda f: (f / "card.json").write_text("[1]"), "it is a list, wanted"),
        (lambda f: (f / "card.json").write_text('{"format": 1}'), "it lacks recipe, res"),
        (_edit(format=9), "format 9, wanted 1"),
        (_edit(files={}), "does not list generator.safetensors"),
        (_edit(files={"generator.safetensors": "x"}), "other sha256"),
        (_edit(files={"../x": "y", "generator.safetensors": "x"}), r"\.\./x is missing"),
        (lambda f: (f / "samples.png").unlink(), "samples.png is missing"),
        (lambda f: _flip(f / "generator.safetensors"), "generator.safetensors is not the file"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(folder, damage, message):
    damage(folder)
    with pytest.raises(StorageError, match=message) as caught:
        read_card(folder)
    assert caught.value.exit_code == 5 and "\n" not in str(caught.value)


def _rewrite(folder, change):
    """Change the weights and let the card agree, as another program might."""
    path = folder / "generator.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    _edit(files={path.name: artifact.file_hash(path)})(folder)


def _nan(tensors):
    tensors["conv.bias"][0] = float("nan")


def _foreign(tensors):
    del tensors["rgb.bias"]
    tensors["conv.bias"] = torch.zeros(9)
    tensors |= {f"extra.{i:02d}": torch.zeros(1) for i in range(12)}


def test_weights_that_do_not_fit_are_listed_ten_at_most(folder):
    _rewrite(folder, _foreign)
    with pytest.raises(StorageError) as caught:
        load_generator(folder)
    message = str(caught.value)
    assert re.search(r"missing: rgb.bias; other shape: conv.bias \[9\] not \[8\]", message)
    assert "extra.09" in message and "extra.10" not in message


def test_weights_that_are_not_finite_are_refused(folder):
    _rewrite(folder, _nan)
    for load in (load_generator, load_start):
        with pytest.raises(StorageError, match=r"NaN or infinity in conv.bias"):
            load(folder)


def test_another_family_or_resolution_than_expected_is_refused(folder):
    with pytest.raises(StorageError, match="family is fake_gan, wanted stylegan_t"):
        load_start(folder, family="stylegan_t")
    with pytest.raises(StorageError, match="resolution is 8, wanted 16"):
        load_generator(folder, resolution=16)


def test_recipes_go_to_json_and_back():
    recipe = FakeGAN(weight=0.25, widths=(5,))
    assert recipe_from(json.loads(json.dumps(recipe_fields(recipe)))) == recipe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "stylegan_q"}, "family 'stylegan_q'.*use one of fake_gan"),
        ({"name": "fake_gan", "wieght": 1}, "no field wieght.*known fields: .*weight"),
    ],
)
def test_an_unknown_family_or_field_is_one_line(fields, message):
    with pytest.raises(ConfigError, match=message):
        recipe_from(fields)
