"""The search's quick scores rank generators rightly and never ask the judge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from components.evaluation import quick
from models.interfaces import Condition, ConditionShape
from tests.components.evaluation.conftest import measuring
from tests.components.evaluation.test_shapes import Drawer, Drawings, Pixels


@pytest.fixture
def encoders(judge, clip, tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    nets = {"dino": judge, "clip": clip}
    monkeypatch.setattr(quick, "open_net", lambda folder, role, device: nets[role])
    return tmp_path


def test_the_better_generator_wins_both(rows, painter, encoders) -> None:
    settings = {"num": 50, "seed": 0, "role": "dino"}
    good = quick.quick_scores(painter(5.0), rows, encoders, **settings)
    bad = quick.quick_scores(painter(40.0, blind=True), rows, encoders, **settings)
    assert set(good) == {"frechet", "alignment", "seed_variety"}
    assert good["frechet"] < bad["frechet"]
    assert good["alignment"] > bad["alignment"] + 0.2
    assert good == quick.quick_scores(painter(5.0), rows, encoders, **settings)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A net that looks at drawings, and no CLIP."""
    net = measuring(Pixels(), "dino")
    monkeypatch.setattr(quick, "open_net", lambda folder, role, device: net)
    return tmp_path


def varied(generator, encoders, source=None) -> float:
    settings = {"num": 32, "seed": 0, "role": "dino"}
    return quick.quick_scores(generator, source or Drawings(), encoders, **settings)["seed_variety"]


def test_variety_is_that_of_the_whole_measure_by_the_view_that_says_less(drawn) -> None:
    other, table = Drawer(), Drawer(table=True)
    assert varied(other, drawn) == pytest.approx(1, abs=0.25)
    assert varied(table, drawn) == pytest.approx(0, abs=1e-6)


class Noisy(nn.Module):
    """Features that take the last bit of an image's light for something that is shown."""

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        light_N = image_NCHW.double().mean((1, 2, 3))
        return {"pooled": torch.sin(1e6 * light_N)[:, None].float().repeat(1, 8)}


class Flickering(Drawer):
    """A lookup table, but for one pixel."""

    def __init__(self) -> None:
        super().__init__(table=True)

    def map(self, z_ND: Tensor, condition: Condition, truncation: float = 1.0) -> Tensor:
        return torch.cat([super().map(z_ND, condition)[:, 0], z_ND[:, :1]], 1)[:, None]

    def synthesize(self, ws_NLD: Tensor, condition: Condition, noise: object = "const") -> Tensor:
        image_NCHW = super().synthesize(ws_NLD, condition).clone()
        image_NCHW[:, :, 0, 0] = ws_NLD[:, 0, -1:].tanh()
        return image_NCHW


def test_features_that_take_noise_for_variety_do_not_decide_alone(drawn, monkeypatch) -> None:
    net = measuring(Noisy(), "dino")
    monkeypatch.setattr(quick, "open_net", lambda folder, role, device: net)
    told = []
    own = quick.variety
    monkeypatch.setattr(quick, "variety", lambda *x: told.append(own(*x)) or told[-1])
    assert varied(Flickering(), drawn) == min(told) < 0.15
    assert max(told) > 0.7


def test_without_text_or_classes_all_images_are_of_one_prompt(drawn) -> None:
    silent = Drawings(shape=ConditionShape(), captions=False)
    assert varied(Drawer(table=True), drawn, silent) == pytest.approx(
        varied(Drawer(), drawn, silent), abs=0.3
    )  # other prompts are other images, and nobody asks for them
    assert varied(Drawer(table=True), drawn, silent) > 0.6


def test_the_judge_is_refused(rows, painter, tmp_path) -> None:
    with pytest.raises(ValueError, match="judge"):
        quick.quick_scores(painter(), rows, tmp_path, num=8, seed=0, role="judge")
