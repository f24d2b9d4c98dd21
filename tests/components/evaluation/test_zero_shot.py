"""The COCO benchmark on painted pictures whose truth is known."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from components.data.captions import prompt
from components.evaluation.cards import IGNORES_TEXT, LOW_RANK, SAME_CLIP
from components.evaluation.coco import open_coco
from components.evaluation.config import CocoConfig
from components.evaluation.distances import Moments, frechet_distance
from components.evaluation.features import features_of
from components.evaluation.zero_shot import FEW_CAPTIONS, ZeroShot, counted
from components.sampling import generate, to_uint8
from models.interfaces import Condition
from tests.components.evaluation.coco_files import picture_file, write_coco

CONFIG = CocoConfig(
    annotations="", images="", num_fake=50, resolutions_px=(8, 16), batch=16, seed=3
)


class Model(torch.nn.Module):
    """A text-to-image model whose text encoder writes the attributes down."""

    def __init__(self, generator) -> None:
        super().__init__()
        self.generator = generator

    def condition(self, prompts):
        from components.data.captions import attributes_of
        from tests.components.evaluation.conftest import code

        rows = [code(attributes_of(text)) for text in prompts]
        return Condition(pooled_ND=torch.tensor(rows))


@pytest.fixture
def files(tmp_path, make_rows):
    """40 painted pictures of 64 px with their captions."""
    from tests.components.evaluation.conftest import paint

    values = make_rows(num_rows=40).values
    large = [np.kron(paint(v), np.ones((8, 8, 1), np.uint8)) for v in values]
    content = {f"{i:03d}.png": picture_file(x, "PNG") for i, x in enumerate(large)}
    captions = {f"{i:03d}.png": [prompt(**v)] for i, v in enumerate(values)}
    return write_coco(tmp_path / "coco", content, captions)


@pytest.fixture
def bench(files, judge, clip, cache) -> ZeroShot:
    pictures = open_coco(*files, seed=0)
    return ZeroShot(pictures=pictures, config=CONFIG, inception=judge, scorer=clip, cache=cache)


def test_every_number_has_its_own_name_and_card(bench, judge, painter) -> None:
    model = Model(painter(5.0))
    report = bench.scores(model)
    fakes = generate(model, bench.pictures.prompts(50, 3), range(3, 53), 1.0)
    reals = to_uint8(bench.pictures.at(8).atom(0, 40).image_NCHW)
    looked = [features_of(judge.network, x)["pooled"] for x in (reals, fakes)]
    expected = frechet_distance(*map(Moments.of, looked))
    assert report["fid50_coco_8"] == pytest.approx(expected, rel=1e-3)
    assert report["fid50_coco_16"] is None
    assert report["not_measured"] == {"fid50_coco_16": "the model draws 8 px"}
    card = report["cards"]["fid50_coco_8"]
    assert (card["num_real"], card["num_fake"], card["net"], card["seed"]) == (40, 50, "judge", 3)
    assert card["data_content_hash"] == report["data"]["content_hash"]
    assert card["note"] == FEW_CAPTIONS
    assert set(report["cards"]) == {"fid50_coco_8", "clip_score_coco", "prompt_sensitivity_coco"}
    assert report["data"]["used"] == report["data"]["listed"] == 40
    assert counted(30_000) == "30k"
    json.dumps(report, allow_nan=False)


def test_a_generator_that_ignores_its_text_is_said_to(bench, painter) -> None:
    blind = bench.scores(Model(painter(30.0, blind=True)))
    aware = bench.scores(Model(painter(5.0)))
    real = aware["real"]
    assert real["clip_score_coco"] > 0.9
    assert abs(blind["prompt_sensitivity_coco"]) < 0.1 * real["prompt_sensitivity_coco"]
    assert aware["prompt_sensitivity_coco"] > 0.8 * real["prompt_sensitivity_coco"]
    assert IGNORES_TEXT in blind["cards"]["prompt_sensitivity_coco"]["note"]
    assert IGNORES_TEXT not in aware["cards"]["prompt_sensitivity_coco"]["note"]


def test_the_real_side_is_measured_once(files, bench, judge, painter) -> None:
    model = Model(painter(5.0))
    first = bench.scores(model)
    assert judge.network.images_seen == 40 + 50
    again = dataclasses.replace(bench, pictures=open_coco(*files, seed=0))
    assert again.scores(model) == first
    assert judge.network.images_seen == 40 + 50 + 50
    picture = files[1] / "007.png"
    picture.write_bytes(picture_file(np.zeros((64, 64, 3), np.uint8), "PNG"))
    changed = dataclasses.replace(bench, pictures=open_coco(*files, seed=0)).scores(model)
    assert judge.network.images_seen == 40 + 50 + 50 + 40 + 50
    assert changed["fid50_coco_8"] != first["fid50_coco_8"]


def test_the_batch_changes_nothing(bench, painter) -> None:
    model = Model(painter(5.0))
    config = dataclasses.replace(CONFIG, batch=7)
    other = dataclasses.replace(bench, config=config, cache=None).scores(model)
    first = bench.scores(model)
    assert other["fid50_coco_8"] == pytest.approx(first["fid50_coco_8"], rel=1e-5)
    assert other["clip_score_coco"] == pytest.approx(first["clip_score_coco"], abs=1e-6)


def test_what_is_not_given_is_not_measured_and_says_why(bench, painter) -> None:
    model = Model(painter(5.0))
    report = dataclasses.replace(bench, inception=None, guides=True).scores(model)
    assert report["fid50_coco_8"] is None
    assert report["not_measured"]["fid50_coco_8"] == "no inception_file given"
    assert SAME_CLIP in report["cards"]["clip_score_coco"]["note"]
    config = dataclasses.replace(CONFIG, num_fake=6)
    report = dataclasses.replace(bench, scorer=None, config=config).scores(model)
    assert report["clip_score_coco"] is report["prompt_sensitivity_coco"] is None
    assert "clip_scorer" in report["not_measured"]["clip_score_coco"]
    assert LOW_RANK in report["cards"]["fid6_coco_8"]["note"]
