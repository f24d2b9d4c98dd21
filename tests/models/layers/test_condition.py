import pytest
import torch

from models.interfaces import Condition, ConditionShape
from models.layers.condition import ConditionVector


def test_text_passes_and_wins_over_labels():
    vector = ConditionVector(ConditionShape(pooled_dim=4, num_labels=3))
    text = torch.randn(2, 4)
    assert vector.dim == 4
    assert torch.equal(vector(Condition(pooled_ND=text, label_N=torch.tensor([0, 1]))), text)
    with pytest.raises(ValueError, match=r"\[N, 4\].*\(2, 5\)"):
        vector(Condition(pooled_ND=torch.randn(2, 5)))


def test_labels_are_one_hot_or_learned_of_unit_length():
    labels = Condition(label_N=torch.tensor([2, 0]))
    one_hot = ConditionVector(ConditionShape(num_labels=3))
    assert one_hot(labels).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert not list(one_hot.parameters())
    learned = ConditionVector(ConditionShape(num_labels=3), label_dim=5)
    assert learned(labels).shape == (2, 5)
    torch.testing.assert_close(learned(labels).norm(dim=1), torch.ones(2))
    with pytest.raises(ValueError, match="class index"):
        learned(Condition())


def test_unconditional_has_no_vector():
    vector = ConditionVector(ConditionShape())
    assert vector.dim == 0
    assert vector(Condition(pooled_ND=torch.zeros(1, 2))) is None
