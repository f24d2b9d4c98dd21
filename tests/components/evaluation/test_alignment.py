"""Alignment on images whose truth is known."""

from __future__ import annotations

import itertools

import pytest
import torch

from components.data.captions import ATTRIBUTES, attributes_of, attributes_of_class, prompt
from components.evaluation.alignment import (
    attribute_accuracy,
    clip_score,
    prompt_sensitivity,
    same_caption,
)
from components.evaluation.cards import IGNORES_TEXT, UNTOLD, sensitivity_note
from components.evaluation.features import features_of
from components.sampling import to_uint8


def test_a_perfect_judge_reads_the_truth_and_counts_each_mistake(rows, judge) -> None:
    batch = rows.atom(0, 40)
    logits = features_of(judge.network, to_uint8(batch.image_NCHW))
    shares = attribute_accuracy(logits, ATTRIBUTES, batch.captions, attributes_of)
    assert shares == {"background": 1, "size": 1, "colour": 1, "shape": 1, "all": 1, "num": 40}

    wrong = list(batch.captions)
    for row in range(10):  # the caption asks for the other size
        values = dict(rows.values[row])
        values["size"] = "large" if values["size"] == "small" else "small"
        wrong[row] = prompt(**values)
    wrong[0] = prompt(**{**attributes_of(wrong[0]), "shape": _other(rows.values[0]["shape"])})
    shares = attribute_accuracy(logits, ATTRIBUTES, wrong, attributes_of)
    assert shares == {
        "background": 1,
        "size": 0.75,
        "colour": 1,
        "shape": 39 / 40,
        "all": 0.75,
        "num": 40,
    }


def _other(shape: str) -> str:
    return next(name for name in ATTRIBUTES["shape"] if name != shape)


def test_captions_that_cannot_be_read_are_left_out(rows, judge) -> None:
    batch = rows.atom(0, 4)
    logits = features_of(judge.network, to_uint8(batch.image_NCHW))
    captions = [batch.captions[0], "a photo of a cat", batch.captions[2], ""]
    assert attribute_accuracy(logits, ATTRIBUTES, captions, attributes_of)["num"] == 2
    assert attribute_accuracy(logits, ATTRIBUTES, ["cat"] * 4, attributes_of) is None


def test_a_class_is_judged_by_the_attributes_that_its_name_tells_of(rows, judge) -> None:
    batch = rows.atom(0, 8)
    logits = features_of(judge.network, to_uint8(batch.image_NCHW))
    names = [f"{rows.values[i]['colour']} {rows.values[i]['shape']}" for i in range(8)]
    names[3] = f"{rows.values[3]['colour']} {_other(rows.values[3]['shape'])}"
    shares = attribute_accuracy(logits, ATTRIBUTES, names, attributes_of_class)
    assert shares == {"colour": 1, "shape": 7 / 8, "all": 7 / 8, "num": 8}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("red circle", {"colour": "red", "shape": "circle"}),
        ("ring", {"shape": "ring"}),
        ("Large ring", {"size": "large", "shape": "ring"}),
        ("red blue", None),
        ("n01440764", None),
        ("", None),
    ],
)
def test_what_a_class_name_tells_of(name, told) -> None:
    assert attributes_of_class(name) == told


def _unit(count: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 5, generator=rng), dim=1)


def test_clip_score_and_sensitivity_equal_their_definitions() -> None:
    image, text = _unit(12, 0), _unit(12, 1)
    captions = [f"prompt {row}" for row in range(12)]
    cosine = image.double() @ text.double().T
    assert clip_score(image, text) == pytest.approx(float(cosine.diag().mean()))
    off = cosine[~torch.eye(12, dtype=torch.bool)]
    expected = float(cosine.diag().mean() - off.mean())
    assert prompt_sensitivity(image, text, captions) == pytest.approx(expected)
    same = image[:1].expand(12, -1)
    assert prompt_sensitivity(same, text, captions) == pytest.approx(0, abs=1e-12)


def test_sensitivity_is_the_mean_over_shuffles_in_which_no_prompt_meets_its_like() -> None:
    """Five prompts, two of them equal but for case and a full stop: every such shuffle by hand."""
    captions = ["A red ring.", "a blue dot", "a  red ring", "two cats", "a dog"]
    image, text = _unit(5, 2), _unit(5, 3)
    text[2] = text[0]
    like = [same_caption(caption) for caption in captions]
    assert like[0] == like[2] != like[1]
    drawn = [
        order
        for order in itertools.permutations(range(5))
        if all(like[i] != like[order[i]] for i in range(5))
    ]
    # Every allowed pair counts once, however many shuffles it is part of.
    pairs = {(i, order[i]) for order in drawn for i in range(5)}
    assert len(pairs) == 5 * 4 - 2
    cosine = image.double() @ text.double().T
    shuffled = sum(float(cosine[pair]) for pair in pairs) / len(pairs)
    expected = float(cosine.diag().mean()) - shuffled
    assert prompt_sensitivity(image, text, captions) == pytest.approx(expected)


def test_equal_prompts_have_no_sensitivity() -> None:
    assert prompt_sensitivity(_unit(3, 0), _unit(3, 1), ["a ring", "A ring", "a ring!"]) is None
    assert prompt_sensitivity(_unit(1, 0), _unit(1, 1), ["a ring"]) is None
    assert same_caption("!?") != same_caption("..."), "signs alone are told apart"


def test_a_generator_that_ignores_its_text_is_told_by_the_sensitivity_alone() -> None:
    """It draws what CLIP likes best on average: a high score, and nothing to do with the prompt."""
    text = torch.nn.functional.normalize(_unit(40, 4) + torch.tensor([2.0, 0, 0, 0, 0]), dim=1)
    captions = [f"prompt {row}" for row in range(40)]
    blind = torch.nn.functional.normalize(text.mean(0, keepdim=True), dim=1).expand(40, -1)
    assert clip_score(blind, text) > 0.8
    assert prompt_sensitivity(blind, text, captions) == pytest.approx(0, abs=1e-12)
    assert prompt_sensitivity(text, text, captions) > 0.1
    assert sensitivity_note(0.001, 0.1) == IGNORES_TEXT
    assert sensitivity_note(-0.001, 0.1) == IGNORES_TEXT
    assert sensitivity_note(0.09, 0.1) == sensitivity_note(None, 0.1) == ""
    assert sensitivity_note(0.889, 0.901) == sensitivity_note(0.011, 0.05) == ""
    assert sensitivity_note(0.009, 0.05) == IGNORES_TEXT, "more than a tenth, and no margin"


@pytest.mark.parametrize("real", [0.0034, 0.0, -0.002])
def test_where_real_images_show_no_margin_either_that_is_said(real: float) -> None:
    assert sensitivity_note(-0.000004, real) == UNTOLD
    assert sensitivity_note(0.2, real) == ""
