"""The rows of a sample sheet: each class or caption once, in the order in which they come."""

from __future__ import annotations

import torch

from components.evaluation.sheet_rows import distinct_rows
from models.interfaces import Batch, Condition


class Rows:
    """Held-out rows of these captions and classes; it goes round, as a BatchSource does."""

    def __init__(self, captions: list[str], labels: list[int] | None = None) -> None:
        self.captions, self.labels, self.num_rows = captions, labels, len(captions)

    def atom(self, position: int, size: int) -> Batch:
        at = [(position + i) % self.num_rows for i in range(size)]
        label = torch.tensor([self.labels[i] for i in at]) if self.labels else None
        pooled = None if self.labels else torch.tensor(at)[:, None].float()
        condition = Condition(pooled_ND=pooled, label_N=label)
        return Batch(size=size, condition=condition, captions=tuple(self.captions[i] for i in at))


def test_each_class_has_one_row_also_where_it_comes_late() -> None:
    labels = [2, 2, 0, 2, 0, 0, 2, 0, 0, 1, 1]
    found = distinct_rows(Rows([f"c{i}" for i in labels], labels), 4, num_labels=3)
    assert found.condition.label_N.tolist() == [2, 0, 1]
    assert found.captions == ("c2", "c0", "c1")
    found = distinct_rows(Rows([""] * 11, labels), 2, num_labels=3)
    assert found.condition.label_N.tolist() == [2, 0] and found.captions == ("", "")


def test_a_class_that_no_held_out_row_has_is_not_waited_for() -> None:
    assert distinct_rows(Rows(["a", "a"], [0, 0]), 8, num_labels=3).captions == ("a",)


def test_equal_captions_have_one_row() -> None:
    found = distinct_rows(Rows(["a", "a", "b", "a", "c", "d"]), 3)
    assert found.captions == ("a", "b", "c")
    assert found.condition.pooled_ND[:, 0].tolist() == [0, 2, 4]


def test_rows_that_differ_are_the_first_ones() -> None:
    found = distinct_rows(Rows(list("abcdef")), 4)
    assert found.captions == tuple("abcd")
    assert found.condition.pooled_ND[:, 0].tolist() == [0, 1, 2, 3]
