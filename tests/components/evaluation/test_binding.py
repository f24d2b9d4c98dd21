import pytest
import torch

from components.artifacts.metric_names import is_metric
from components.data.captions import PAIR_ATTRIBUTES, attributes_of
from components.evaluation.binding import binding

TOLD = "a red ring left of a small blue square on a white background"
RIGHT = attributes_of(TOLD)


def seen(*images):
    """Return logits of a judge that sees each of these."""
    return {
        name: torch.stack([torch.eye(len(options))[options.index(image[name])] for image in images])
        for name, options in PAIR_ATTRIBUTES.items()
    }


def crossed(*names):
    """Return what is seen when the two objects have each other's values of these attributes."""
    values = dict(RIGHT)
    for name in names:
        values[name], values[f"{name}_2"] = RIGHT[f"{name}_2"], RIGHT[name]
    return values


def bound(*images, captions=None):
    return binding(seen(*images), PAIR_ATTRIBUTES, captions or [TOLD] * len(images), attributes_of)


def test_each_kind_of_error_is_counted_apart():
    wrong_size = {**RIGHT, "size_2": "large"}
    found = bound(
        RIGHT, crossed("colour"), crossed("shape", "colour", "size"), wrong_size, crossed("shape")
    )
    assert found["both"] == pytest.approx(1 / 5)
    assert found["swapped_colours"] == pytest.approx(1 / 5)
    assert found["exchanged"] == pytest.approx(1 / 5)
    assert found["attribute"] == pytest.approx((6 + 4 + 0 + 5 + 4) / 30)
    assert found["num"] == 5


def test_one_wrong_colour_is_no_swap():
    found = bound({**RIGHT, "colour": "blue"}, {**RIGHT, "colour": "blue", "colour_2": "green"})
    assert found["swapped_colours"] == 0 and found["both"] == 0


def test_relation_and_ground_are_not_the_objects():
    assert bound({**RIGHT, "relation": "above", "background": "green"})["both"] == 1


def test_captions_of_one_object_are_left_out():
    one = "a small red ring on a blue background"
    found = bound(RIGHT, crossed("colour"), captions=[TOLD, one])
    assert found["num"] == 1 and found["both"] == 1
    assert bound(RIGHT, captions=[one]) is None
    assert bound(RIGHT, captions=["a dog"]) is None


def test_a_judge_of_one_object_says_nothing():
    classes = {name: PAIR_ATTRIBUTES[name] for name in ("shape", "colour", "size", "background")}
    assert binding(seen(RIGHT), classes, [TOLD], attributes_of) is None


def test_every_share_can_be_a_threshold():
    for name in bound(RIGHT):
        assert name == "num" or is_metric(f"two_objects.{name}")
    for name in ("judge.shape_2", "judge.relation"):
        assert is_metric(name)
    assert not is_metric("two_objects.all")
