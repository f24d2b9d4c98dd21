"""Counts of the judge's classes, and how alike two of them are, against counts made by hand."""

import pytest
import torch

from components.evaluation.alignment import ATTRIBUTES
from components.evaluation.variety import attribute_counts, variety

CLASSES = dict.fromkeys(ATTRIBUTES, ("a", "b", "c"))


def logits(*chosen: int) -> dict[str, torch.Tensor]:
    return dict.fromkeys(ATTRIBUTES, torch.nn.functional.one_hot(torch.tensor(chosen), 3).float())


def test_counts_are_of_the_largest_logit():
    counts = attribute_counts(logits(0, 0, 2, 0), CLASSES)
    assert counts == {name: {"a": 3, "b": 0, "c": 1} for name in ATTRIBUTES}


def test_overlap_and_missing_classes():
    real = attribute_counts(logits(0, 1, 2, 2), CLASSES)  # 1/4, 1/4, 1/2
    fake = attribute_counts(logits(0, 0, 0, 0, 0, 0, 2, 2), CLASSES)  # 3/4, 0, 1/4
    scores = variety(fake, real)
    assert scores["missing"] == len(ATTRIBUTES)  # class b of each
    assert [scores[name] for name in ATTRIBUTES] == pytest.approx([0.5] * len(ATTRIBUTES))
    assert variety(real, fake)["missing"] == 0  # only what is real can be missing
    same = variety(real, real)
    assert {same[name] for name in ATTRIBUTES} == {1.0}
