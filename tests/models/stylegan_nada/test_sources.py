"""Several sources: each image goes from the sentence that it is nearest to."""

import pytest
import torch
from torch.nn import functional as F

from models.editing.templates import alternatives
from models.stylegan_nada.adaptation import Adaptation
from models.stylegan_nada.goals import from_each, shared_by
from models.stylegan_nada.losses import weighted
from tests.models.stylegan_nada.test_adaptation import built, one_step, recipe_of


class Reader:
    """A text of n letters is the n-th axis."""

    def encode_text(self, texts):
        return torch.eye(6)[[len(text) for text in texts]]


def test_brackets_stand_for_every_choice():
    found = alternatives(["a [small|large] {} [dot|bar]", "plain {}", "[none] {}"])
    four = ("a small {} dot", "a small {} bar", "a large {} dot", "a large {} bar")
    assert found == (*four, "plain {}", "[none] {}")


def test_each_image_goes_its_own_way():
    # Sentences of 1 and 2 letters (the source), 3 and 4 (the target).
    goal = from_each(Reader(), lambda x: x, 1.0, ["a", "ccc"], "ccc", ["{}", "{}."])
    eye = torch.eye(6)
    nearest = F.normalize(eye[[1, 3, 2]] + 0.1, dim=1)  # "a", the target itself, "a."
    way, end = goal.toward(nearest)
    assert torch.equal(end, eye[[3, 3, 4]])
    assert torch.allclose(way[0], F.normalize(eye[3] - eye[1], dim=0))
    assert way[1].abs().sum() == 0  # it shows the target: no way to go
    losses = weighted(goal, nearest, end, (1.0, 1.0, 0.0))
    assert losses["global"].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    assert losses["directional"][0] < 0.1 and losses["directional"][1] == pytest.approx(1.0)


def test_pictures_choose_the_target_among_the_sources():
    # Pictures of "a" in both templates, and one that shows "bb": the sum over all decides.
    pictures = [torch.eye(6)[[place]] for place in (1, 2, 4)]
    words = ["a", "bbb"]
    assert shared_by(Reader(), lambda x: x, pictures, words, ["{}", "{}."]) == "a"
    assert shared_by(Reader(), lambda x: x, pictures[2:], words, ["{}", "{}."]) == "bbb"


def test_pictures_and_sources_give_each_image_its_own_way():
    recipe = recipe_of(source="", target="", target_pictures="x", sources=("a photo", "a plan"))
    assert recipe.misfits("none") == {}
    networks = built(recipe, pictures=[torch.zeros(1, 3, 8, 8)])
    (goal,) = Adaptation(recipe, networks).goals()
    ways_PE = goal.sentences.ways_PE.unflatten(0, (2, -1))
    still = [bool(part.abs().sum() < 1e-6) for part in ways_PE]
    assert sorted(still) == [False, True]  # one of the sources is the target


def test_a_step_with_several_sources_trains_convolutions():
    recipe = recipe_of(source="", sources=("a photo", "a plan"), global_weight=0.5)
    networks = built(recipe)
    changed, terms = one_step(recipe, networks)
    assert changed and set(terms) == {"directional", "global"}
    (goal,) = Adaptation(recipe, networks).goals()
    assert goal.sentences.before_PE.shape[0] == 2 * len(recipe.templates)
    assert float(goal.direction_E.norm()) == pytest.approx(1.0, abs=1e-5)
