"""The classifier that says which class a sample shows, against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from components.evaluation.bench import Bench
from components.evaluation.class_probe import fit_probe, measure_classes, share_right
from components.evaluation.config import EvaluateConfig
from components.evaluation.sampled import Sampled
from models.interfaces import Batch, Condition
from tests.components.evaluation.test_memorisation import Drawings, Edges, measuring


def normal_pair(count: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Two normal distributions of unit variance in four dimensions, means two apart."""
    rng = torch.Generator().manual_seed(seed)
    side = torch.arange(count) % 2
    feature_ND = torch.randn(count, 4, generator=rng)
    feature_ND[:, 0] += 2.0 * side
    return feature_ND, ["right" if s else "left" for s in side.tolist()]


def test_the_probe_is_as_good_as_the_best_classifier_of_two_normal_distributions():
    probe = fit_probe(*normal_pair(4000, 0))
    best = 0.5 * (1 + torch.erf(torch.tensor(1 / 2**0.5)).item())  # half the distance: 1 sigma
    assert share_right(probe, *normal_pair(20_000, 1)) == pytest.approx(best, abs=0.01)


def grounds(split: str, count: int) -> Drawings:
    """Drawings whose class is the colour of their ground, read from a corner of the picture."""
    found = Drawings(split, count)
    corner = found.images[:, :2, :2].reshape(count, -1).mean(1)
    found.captions = ["light" if value > 128 else "dark" for value in corner]
    return found


TRAINING, HELD_OUT = grounds("train", 400), grounds("test", 300)


def bench(**changes) -> Bench:
    net = measuring(Edges(), "guide")
    given = {"source": HELD_OUT, "config": EvaluateConfig(), "net": net, "training": TRAINING}
    return Bench(**given | changes)


def measured(captions: list[str], source: Drawings) -> dict:
    feature_MD = Edges()(source.atom(0, source.num_rows).image_NCHW)["pooled"]
    return measure_classes(bench(), Sampled(feature_MD=feature_MD, captions=captions))


def test_real_images_show_their_class_and_shuffled_names_are_right_by_chance():
    other = grounds("judge", 300)
    found = measured(other.captions, other)
    scores = found["scores"]
    assert scores["class_right"] > 0.9 and scores["class_right_real"] > 0.9
    card = found["cards"]["class_right"]
    assert card["note"] == "linear classifier of 2 classes, fitted to 400 training images"
    wrong = ["dark" if name == "light" else "light" for name in other.captions]
    assert measured(wrong, other)["scores"]["class_right"] == pytest.approx(
        1 - scores["class_right"]
    )


class Captioned:
    """The same drawings with captions that name no class, and the classes as numbers beside them;
    every tenth drawing has none.
    """

    def __init__(self, drawings: Drawings) -> None:
        self.drawings, self.num_rows = drawings, drawings.num_rows
        self.content_hash, self.seed, self.resolution = "captioned", 0, drawings.resolution
        self.label_names = ["dark", "light"]

    def atom(self, start: int, size: int) -> Batch:
        rows = self.drawings.atom(start, size)
        number = torch.tensor([self.label_names.index(name) for name in rows.captions])
        number[torch.arange(start, start + size) % 10 == 0] = -1
        condition = Condition(pooled_ND=torch.zeros(size, 4), label_N=number)
        return replace(rows, condition=condition, captions=("words",) * size)


def test_a_prompt_asks_for_the_class_of_its_image():
    """Of held-out images themselves as if they were drawn: right as often as real ones are."""
    source, training = Captioned(HELD_OUT), Captioned(TRAINING)
    feature_MD = Edges()(HELD_OUT.atom(0, 300).image_NCHW)["pooled"]
    drawn = Sampled(feature_MD=feature_MD, captions=["words"] * 300)
    text = {"source": source, "training": training, "clip": SimpleNamespace()}
    found = measure_classes(bench(**text), drawn)
    assert found["scores"]["class_right"] == found["scores"]["class_right_real"] > 0.9
    assert "2 classes" in found["cards"]["class_right"]["note"]
    shifted = Sampled(feature_MD=feature_MD.roll(1, 0), captions=["words"] * 300)
    assert measure_classes(bench(**text), shifted)["scores"]["class_right"] < 0.7
    judged = bench(**text, judge=measuring(Edges(), "judge"))
    assert measure_classes(judged, drawn)["scores"] == {}


NOTHING = Sampled(feature_MD=torch.zeros(2, 3), captions=["a", "b"])


@pytest.mark.parametrize("changes", [{"asked": False}, {"clip": SimpleNamespace()}])
def test_a_model_that_takes_no_class_has_no_such_number(changes):
    assert measure_classes(bench(**changes), NOTHING)["scores"] == {}


def test_without_training_images_it_says_why():
    found = measure_classes(bench(training=None), NOTHING)
    assert "not at hand" in found["missing"]["class_right"]
    assert found["scores"] == {"class_right": None, "class_right_real": None}


def test_classes_of_too_few_images_are_said():
    few = Drawings("train", 8)
    few.captions = [f"class {i}" for i in range(8)]
    found = measure_classes(bench(training=few), NOTHING)
    assert "0 classes of 5 training images or more" in found["missing"]["class_right"]
