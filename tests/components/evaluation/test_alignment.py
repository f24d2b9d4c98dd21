"""Alignment on images whose truth is known."""

from __future__ import annotations

import pytest
import torch

from components.data.captions import ATTRIBUTES, attributes_of, prompt
from components.evaluation.alignment import attribute_accuracy, clip_score, prompt_sensitivity
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


def test_clip_score_and_sensitivity_equal_their_definitions() -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.nn.functional.normalize(torch.randn(12, 5, generator=rng), dim=1)
    text = torch.nn.functional.normalize(torch.randn(12, 5, generator=rng), dim=1)
    cosine = image.double() @ text.double().T
    assert clip_score(image, text) == pytest.approx(float(cosine.diag().mean()))
    off = cosine[~torch.eye(12, dtype=torch.bool)]
    expected = float(cosine.diag().mean() - off.mean())
    assert prompt_sensitivity(image, text) == pytest.approx(expected)
    assert prompt_sensitivity(image[:1].expand(12, -1), text) == pytest.approx(0, abs=1e-12)
