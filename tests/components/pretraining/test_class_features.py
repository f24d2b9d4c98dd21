"""What a frozen net knows of the data's classes, from pictures in folders to a recipe's table."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from components.data.config import SourceConfig
from components.data.origins import Origin
from components.errors import ConfigError, StorageError
from components.pretraining.class_features import (
    FILE,
    Elsewhere,
    class_dim,
    class_features,
    logit_names,
    read_classes,
    write_classes,
)
from tests.pipeline.actors import by_actor
from tests.pipeline.tiny_world import write_projected_nets


class MeanColour(nn.Module):
    """Pooled features: the mean colour, in [-1, 1]."""

    image_size = 8

    def forward(self, image_NCHW):
        return {"pooled": image_NCHW.mean(dim=(2, 3))}


def pictures(folder, levels):
    """levels: class -> grey levels of its pictures."""
    for name, greys in levels.items():
        (folder / name).mkdir(parents=True)
        for i, grey in enumerate(greys):
            pixels = np.full((12, 12, 3), grey, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def config(folder):
    return SourceConfig(kind="image_folder", condition="label", path=str(folder))


def test_each_class_has_the_mean_of_its_own_readable_pictures(tmp_path):
    pictures(tmp_path, {"dark": [0, 51], "bright": [255] * 70})
    (tmp_path / "dark" / "broken.png").write_bytes(b"none")
    names, feature_KE = class_features(MeanColour(), [Origin(config(tmp_path), tmp_path)], 1000)
    assert names == ["bright", "dark"]
    expected = torch.tensor([[1.0] * 3, [25.5 / 127.5 - 1] * 3])
    torch.testing.assert_close(feature_KE, expected)
    _, first = class_features(MeanColour(), [Origin(config(tmp_path), tmp_path)], 1)
    torch.testing.assert_close(first, torch.tensor([[1.0] * 3, [-1.0] * 3]))


@pytest.mark.parametrize("per_class", [1, 2, 70, 1000])
def test_another_place_gives_the_same_bytes(tmp_path, per_class):
    net = write_projected_nets(tmp_path / "nets", 3)
    rng = np.random.default_rng(0)
    pictures(tmp_path / "data", {"a": rng.integers(0, 255, 90), "b": [], "c": [9, 99, 199]})
    for name in ("a/0", "a/70", "b/0", "c/0", "c/1"):  # the first ones: others come in their place
        (tmp_path / "data" / f"{name}.png").write_bytes(b"none")
    origins = [Origin(config(tmp_path / "data"), tmp_path / "data")]
    names, here = class_features(net, origins, per_class)
    elsewhere = Elsewhere(by_actor, tmp_path / "nets/classifier")
    assert names == ["a", "c"]
    assert class_features(net, origins, per_class, elsewhere)[0] == names
    assert torch.equal(class_features(net, origins, per_class, elsewhere)[1], here)


def test_the_first_readable_pictures_stand_for_a_class(tmp_path):
    pictures(tmp_path, {"a": [0, 0, 51, 102, 255]})
    for number in (0, 1):
        (tmp_path / "a" / f"{number}.png").write_bytes(b"none")
    _, feature_KE = class_features(MeanColour(), [Origin(config(tmp_path), tmp_path)], 2)
    torch.testing.assert_close(feature_KE, torch.full((1, 3), 76.5 / 127.5 - 1))


def test_numbers_are_in_the_order_of_numbers(tmp_path):
    pictures(tmp_path, {"2": [0], "10": [255]})
    names, _ = class_features(MeanColour(), [Origin(config(tmp_path), tmp_path)], 9)
    assert names == ["2", "10"]


def test_rows_and_logits_come_in_the_datas_order(tmp_path):
    feature = torch.randn(3, 5)
    write_classes(tmp_path, ["a", "b", "c"], feature, ["c", "x", "b", "a"])
    assert class_dim(tmp_path) == 5
    table = read_classes(tmp_path, ["c", "a"])
    assert torch.equal(table.feature_KE, feature[[2, 0]])
    assert table.logit_K.tolist() == [0, 3]
    write_classes(tmp_path, ["a", "b", "c"], feature, ["0", "1"])
    assert read_classes(tmp_path, ["b"]).logit_K is None
    with pytest.raises(ConfigError, match="no features of the classes d"):
        read_classes(tmp_path, ["a", "d"])


def test_the_same_table_is_the_same_bytes_and_one_of_an_older_version_is_read(tmp_path):
    feature, names, logits = torch.randn(2, 5), ["a", "b"], ["b", "a"]
    written = set()
    for _ in range(16):
        write_classes(tmp_path, names, feature, logits)
        written.add((tmp_path / FILE).read_bytes())
    assert len(written) == 1
    older = {"classes": json.dumps(names), "logits": json.dumps(logits)}
    save_file({"feature_KE": feature}, tmp_path / FILE, metadata=older)
    table = read_classes(tmp_path, ["b"])
    assert torch.equal(table.feature_KE, feature[[1]]) and table.logit_K.tolist() == [0]


def test_without_classes_there_is_no_table_and_damage_is_named(tmp_path):
    assert read_classes(tmp_path, ["a"]) is None
    assert class_dim(tmp_path) == 0
    (tmp_path / FILE).write_bytes(b"not safetensors")
    with pytest.raises(StorageError, match="run the encoders stage again"):
        read_classes(tmp_path, ["a"])


def test_logits_of_a_published_net_are_numbered():
    net = MeanColour()
    net.network = nn.Identity()
    assert logit_names(net, ()) == logit_names(net, ("red", "blue")) == []
    net.network.num_classes = 3
    assert logit_names(net, ()) == ["0", "1", "2"]
    assert logit_names(net, ("red", "blue", "green")) == ["red", "blue", "green"]
