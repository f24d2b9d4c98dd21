"""Whole sentences as goals: each image goes to the partner of the one that it shows."""

import pytest
import torch
from torch.nn import functional as F

from components.editing import (
    Captions,
    MapperConfig,
    OptimiseConfig,
    edit_by_optimising,
    train_mapper,
)
from components.editing.edits import draw_values
from components.errors import ConfigError
from models.interfaces import Condition

PAIRS = [("a", "a red ring"), ("a cross on white", "a blue cross"), ("grey", "grey")]


@pytest.fixture
def four(generator):
    z = torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(3))
    return generator.map(z, Condition()).clone()


def test_an_image_shows_the_sentence_that_it_is_nearest_to(generator, clip, four):
    captions = Captions(clip, PAIRS, "colour")
    image = draw_values(generator, {"ws": four}, Condition())
    own = captions.own(image)
    likeness = torch.stack([clip.images(image) @ clip.text(before) for before, _ in PAIRS], dim=1)
    assert torch.equal(own, likeness.argmax(dim=1))
    texts = torch.stack([clip.text(PAIRS[i][1]) for i in own.tolist()])
    assert torch.allclose(captions.texts(own), texts)
    assert torch.allclose(
        captions.ways(torch.tensor([0])),
        F.normalize(clip.text("a red ring") - clip.text("a"), dim=0)[None],
        atol=1e-6,
    )
    assert captions.ways(torch.tensor([2])).abs().max() == 0, "the same sentence: no way, no NaN"


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_codes_go_to_their_own_sentences(generator, clip, four, weights):
    captions = Captions(clip, PAIRS[:2], "colour")
    asked = {"clip_weight": weights[0], "direction_weight": weights[1], "distance_weight": 1e-4}
    config = OptimiseConfig(steps=30, **asked)
    edit = edit_by_optimising(generator, four, Condition(), clip, captions, config)
    before, after = (
        draw_values(generator, {"ws": edit.start["ws"] + x * edit.change["ws"]}, Condition())
        for x in (0.0, 1.0)
    )
    own = captions.own(before)
    moved = clip.images(after) - clip.images(before)
    goal = captions.texts(own) if weights[0] else captions.ways(own)
    assert bool(((moved * goal).sum(dim=1) > 0).all())


def test_a_mapper_is_trained_by_sentences_and_another_list_is_another_training(
    generator, clip, tmp_path
):
    config = MapperConfig(steps=3, batch=2, codes=4, save_every=2, direction_weight=0.5)
    state = tmp_path / "state"

    def trained(pairs, state=None):
        captions = Captions(clip, pairs, "colour")
        return train_mapper(
            *(generator, Condition(), clip, captions, config), generator_sha256="x", state=state
        )

    stored = trained(PAIRS, state)
    assert stored.text == "colour" and stored.facts["captions"] == [list(x) for x in PAIRS]
    again = trained(PAIRS, state)
    for one, two in zip(stored.mapper.parameters(), again.mapper.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(ConfigError, match="another mapper's training"):
        trained(PAIRS[:2], state)


def test_pairs_that_ask_for_nothing_are_refused(clip):
    with pytest.raises(ConfigError, match="no pair of sentences that differ"):
        Captions(clip, [("a ring", "a ring")], "--captions")
