"""Shapes and seeds on generators that really draw: right ones, a lookup table, discs for all."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from components.data.captions import ATTRIBUTES
from components.data.synthetic import draw, sample_pairs
from components.evaluation.bench import Bench
from components.evaluation.config import EvaluateConfig
from components.evaluation.scores import score_generator
from components.evaluation.seed_variety import ANY, Against, _warnings, measure_seeds
from components.evaluation.shapes import measure_shapes
from components.sampling import from_uint8
from models.interfaces import Batch, Condition, ConditionShape
from tests.components.evaluation.conftest import measuring

SIDE_PX, ROWS = 32, 400
CONFIG = EvaluateConfig(num_prompts=150, num_fake=100, variety_prompts=20, variety_seeds=5)


class Pixels(nn.Module):
    """Features that a test can take itself: the image at 8 px."""

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        return {"pooled": nn.functional.adaptive_avg_pool2d(image_NCHW, 8).flatten(1)}


@dataclass
class Drawings:
    """Held-out drawings; the stand-in for the text embedding holds the attributes' indices."""

    num_rows: int = ROWS
    content_hash: str = "d0"
    seed: int = 0
    resolution: int = SIDE_PX
    shape: ConditionShape = field(default_factory=lambda: ConditionShape(pooled_dim=4))
    captions: bool = True

    def atom(self, position: int, size: int) -> Batch:
        pairs = sample_pairs(1, "drawings", [(position + i) % ROWS for i in range(size)])
        code = torch.tensor(np.stack([pairs.attributes[name] for name in ATTRIBUTES], 1))
        return Batch(
            size=size,
            condition=Condition(pooled_ND=code.float()),
            image_NCHW=from_uint8(draw(pairs.attributes, pairs.generators, SIDE_PX)),
            captions=tuple(pairs.captions) if self.captions else ("",) * size,
        )


class Drawer(nn.Module):
    """Draws what the condition says, by the seed's own place, size and light.

    Args:
        table: draw one picture for each prompt, whatever the seed.
        discs: draw a disc for every shape.
    """

    z_dim, resolution = 6, SIDE_PX

    def __init__(self, *, table: bool = False, discs: bool = False) -> None:
        super().__init__()
        self.table, self.discs = table, discs

    def map(self, z_ND: Tensor, condition: Condition, truncation: float = 1.0) -> Tensor:
        return torch.cat([condition.pooled_ND, z_ND * (not self.table)], 1)[:, None]

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: object = "const") -> Tensor:
        code = ws_NLD[:, 0, :4].long().numpy()
        attributes = {name: code[:, i] for i, name in enumerate(ATTRIBUTES)}
        if self.discs:
            attributes["shape"] = attributes["shape"] * 0
        seeds = (ws_NLD[:, 0, 4] * 1e6).long().abs().tolist()
        return from_uint8(draw(attributes, [np.random.default_rng(s) for s in seeds], SIDE_PX))


def bench(**changes) -> Bench:
    net = measuring(Pixels(), "pixels")
    return Bench(source=Drawings(**changes), config=CONFIG, net=net)


@pytest.fixture(scope="module")
def text() -> Bench:
    return bench()


def test_right_drawings_are_right_in_every_kind(text) -> None:
    found = measure_shapes(text, text.sample(Drawer(), 150, looked=True), {"shape": 1.0})
    assert found["scores"]["silhouette"]["shape"] > 0.98
    assert found["scores"]["silhouette"]["num"] == 150
    assert len(found["scores"]["silhouette_cells"]) == 10
    assert found["warnings"] == [] and found["missing"] == {}
    assert found["cards"]["silhouette"]["num_real"] == ROWS


def test_a_judge_that_is_pleased_by_discs_is_being_fooled(text) -> None:
    sampled = text.sample(Drawer(discs=True), 150, looked=True)
    found = measure_shapes(text, sampled, {"shape": 0.93})
    assert 0.05 < found["scores"]["silhouette"]["shape"] < 0.35  # a fifth are discs
    assert found["scores"]["silhouette"]["worst"] == 0
    cells = found["scores"]["silhouette_cells"]
    assert cells["large circle"] == 1 and cells["small ring"] == 0
    (warning,) = found["warnings"]
    assert warning.startswith("the judge is being fooled: it names 93 %")
    nearly = {"shape": found["scores"]["silhouette"]["shape"] + 0.04}
    assert measure_shapes(text, sampled, nearly)["warnings"] == []
    assert text.held_out.named_right > 0.98
    object.__setattr__(text.held_out, "named_right", 0.9)  # outlines that fail on real images
    assert measure_shapes(text, sampled, {"shape": 0.93})["warnings"] == []
    object.__setattr__(text.held_out, "named_right", 1.0)


def test_seeds_that_draw_like_reality_have_variety_one(text) -> None:
    found = measure_seeds(text, Drawer())
    assert found["missing"] == {} and found["warnings"] == []
    for name, value in found["scores"].items():
        assert value == pytest.approx(1, abs=0.15), name


def test_a_lookup_table_has_none(text) -> None:
    found = measure_seeds(text, Drawer(table=True))
    assert max(found["scores"].values()) == 0
    (warning,) = found["warnings"]
    measures = "by features 0.00 and by pixels 0.00 and by place 0.00"
    assert f"the seeds of a prompt draw nearly the same, {measures}" in warning
    assert warning in found["cards"]["seed_variety"]["note"]
    assert found["cards"]["seed_variety"]["net"] == "pixels"
    assert found["cards"]["seed_variety_centre"]["net"] == "none: places"


def test_without_captions_images_are_compared_with_all(text) -> None:
    silent = bench(captions=False)
    found = measure_seeds(silent, Drawer())
    assert set(found["scores"]) == {"seed_variety", "seed_variety_pixels"}
    assert f"compared with {ANY}" in found["cards"]["seed_variety"]["note"]
    assert found["scores"]["seed_variety"] < measure_seeds(text, Drawer())["scores"]["seed_variety"]
    assert measure_shapes(silent, silent.sample(Drawer(), 8, looked=True), None)["scores"] == {}


def test_the_whole_evaluation_holds_them_and_their_warnings(text) -> None:
    config = dataclasses.replace(CONFIG, num_curve=10, truncations=(1.0,), kernel_subset_size=20)
    scores = score_generator(
        dataclasses.replace(text, config=config), Drawer(discs=True), Drawer(table=True)
    )
    assert scores["silhouette"]["worst"] == 0 and len(scores["silhouette_cells"]) == 10
    assert scores["seed_variety_centre"] > 0.8
    assert scores["warnings"] == []  # no judge here to be fooled, and the seeds differ
    assert {"silhouette", "seed_variety", "seed_variety_pixels"} <= set(scores["cards"])
    assert len(scores.pop("pairs")) == 0
    json.dumps(scores, allow_nan=False)


def test_real_images_of_other_things_are_no_yardstick() -> None:
    """Captions that never come twice: a model may be right and far below all real images."""
    against = Against.of([f"a caption {i}" for i in range(40)])
    assert _warnings({"seed_variety": 0.1, "seed_variety_pixels": 0.2}, against) == []
    same = Against.of([i % 4 for i in range(80)])
    (warning,) = _warnings({"seed_variety": 0.9, "seed_variety_pixels": 0.2}, same)
    assert "by pixels 0.20 of real images that show the same" in warning
