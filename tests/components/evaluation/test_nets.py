"""Where measuring nets come from, what they are called, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from components.artifacts.frozen_nets import ABSENT
from components.errors import ConfigError, DataError, StorageError
from components.evaluation.config import PAPERS_SCORER
from components.evaluation.nets import (
    NOT_PUBLISHED,
    BicubicInput,
    net_name,
    open_distance_net,
    open_inception,
    open_scorer,
    weights_sha256,
)
from components.pretraining.config import PretrainedConfig
from models.features import read_card, save_feature_net
from models.features.inception import InceptionNet
from tests.models.features.small_nets import small_clip, small_judge

NONE = PretrainedConfig()


@pytest.fixture
def encoders(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    for role, build in (("clip", small_clip), ("judge", small_judge)):
        save_feature_net(tmp_path / role, build(), role=role, source="a test")
    return tmp_path


def test_names_tell_the_net() -> None:
    assert net_name("judge", "attributes", {"widths": [1]}) == "judge"
    assert net_name("classifier", "cnn", {"name": "mobilenetv2_100"}) == "mobilenetv2_100"
    assert (
        net_name("dino", "vit", {"name": "vit_small_patch16_224.dino"})
        == "vit_small_patch16_224_dino"
    )
    assert net_name("clip", "clip", {"embed_dim": 4}) == "clip"


def test_the_scorer_is_what_guides_least(encoders: Path) -> None:
    assert open_scorer(NONE, encoders, "here").role == "clip"
    save_feature_net(encoders / "scorer", small_clip(), role="scorer", source="a test")
    scorer = open_scorer(NONE, encoders, "here")
    assert scorer.role == scorer.name == "scorer"
    assert scorer.sha256 != read_card(encoders / "clip").sha256
    (encoders / "scorer" / "card.json").unlink()  # damaged, which is not absent
    with pytest.raises(StorageError, match="run the encoders stage again"):
        open_scorer(NONE, encoders, "here")
    (encoders / "scorer" / ABSENT).write_text("{}")  # as the encoders stage leaves `source: none`
    assert open_scorer(NONE, encoders, "here").role == "clip"
    assert open_scorer(NONE, None, "here") is None
    assert open_scorer(NONE, encoders / "nowhere", "here") is None


def test_equal_weights_have_equal_hashes_wherever_they_came_from(encoders: Path) -> None:
    scorer = open_scorer(NONE, encoders, "here")
    assert weights_sha256(scorer.network.network) == read_card(encoders / "clip").sha256


def test_a_scorer_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a tag or a file without a name \(here\.name\)"):
        open_scorer(PretrainedConfig(file="x.safetensors"), None, "here")
    with pytest.raises(ConfigError, match=r"no weights 'laion' \(here\.tag\)"):
        open_scorer(PretrainedConfig(name="ViT-B-32", tag="laion"), None, "here")
    absent = PretrainedConfig(name="ViT-B-32", file=str(tmp_path / "x.safetensors"))
    with torch.device("meta"), pytest.raises(DataError, match=r"no file .*\(here\.file\)"):
        open_scorer(absent, None, "here")


def test_the_papers_scorer_is_built_as_published() -> None:
    from components.pretraining import pretrained

    with torch.device("meta"):
        net = pretrained._clip(PAPERS_SCORER, "here")
    assert sum(x.numel() for x in net.network.parameters()) == 1_366_678_273
    assert (net.image_size, net.embedding_dim) == (224, 1024)


def test_a_published_clip_sees_bicubic_pictures() -> None:
    torch.manual_seed(0)
    net = small_clip()
    image = torch.rand(2, 3, 20, 20) * 2 - 1
    resized = torch.nn.functional.interpolate(image, size=(32, 32), mode="bicubic")
    bicubic = BicubicInput(net)
    assert torch.equal(bicubic(image)["pooled"], net(resized)["pooled"])
    assert not torch.equal(bicubic(image)["pooled"], net(image)["pooled"]), "area is another"
    assert torch.equal(bicubic.encode_text(["a red circle"]), net.encode_text(["a red circle"]))


def test_the_net_of_the_distances_is_named_or_refused(encoders: Path, tmp_path: Path) -> None:
    assert open_distance_net("judge", "", encoders).name == "judge"
    with pytest.raises(ConfigError, match=r"encoders here: clip, judge .*set inception_file"):
        open_distance_net("inception", "", encoders)
    with pytest.raises(StorageError, match=r"x\.pth: no such file \(evaluate\.inception_file\)"):
        open_distance_net("inception", str(tmp_path / "x.pth"), encoders)


def test_inception_of_other_weights_says_so(tmp_path: Path) -> None:
    torch.save(InceptionNet().network.state_dict(), tmp_path / "random.pth")
    net = open_inception(tmp_path / "random.pth", "here")
    assert (net.name, net.note) == ("inception", NOT_PUBLISHED)
    assert net.resizer == "bilinear of TensorFlow 1 to 299 px"
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "wrong.pth")
    with pytest.raises(StorageError, match=r"471 missing: .* of another shape: fc\.weight") as one:
        open_inception(tmp_path / "wrong.pth", "here")
    assert one.value.exit_code == 5
    assert "\n" not in str(one.value)
