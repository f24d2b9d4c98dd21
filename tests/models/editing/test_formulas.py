"""Directions, channels, mappers and schedules against answers that can be written down."""

import pytest
import torch
from torch.nn import functional as F

from models.editing.clip_view import embedder, enlarged_and_pooled, shorter_side
from models.editing.directions import channel_directions, select_channels
from models.editing.mapper import LatentMapper, StyleMapper, level_groups
from models.editing.optimise import optimise, rate_at
from models.editing.ranger import Ranger
from tests.models.conftest import FakeClip


def test_channels_are_chosen_by_relevance():
    directions = F.normalize(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]), dim=1)
    text = torch.tensor([1.0, 0.0])
    found = select_channels(directions, text, beta=0.5)
    assert found.move_C.tolist() == pytest.approx([1.0, 0.6, 0.0, -1.0])
    assert found.count == 3
    assert select_channels(directions, text, top=1).count == 1
    assert select_channels(directions, text, beta=0.5, top=2).move_C[1] == 0


def test_a_beta_that_selects_nothing_says_which_would():
    directions = F.normalize(torch.randn(50, 6), dim=1)
    text = F.normalize(torch.randn(6), dim=0)
    with pytest.raises(ValueError, match="selects no channel") as error:
        select_channels(directions, text, beta=1.1)
    beta = float(str(error.value).split("a beta of ")[1].split()[0])
    assert select_channels(directions, text, beta=beta - 0.005).count >= 20


def test_directions_of_a_linear_world():
    """Each channel moves the embedding along its own axis: that axis is found."""
    base = torch.randn(5, 7, 1, 5)
    axes = torch.eye(5)[:, None, :]
    features = torch.stack([base[:, :, 0] - 1e-3 * axes, base[:, :, 0] + 1e-3 * axes], dim=2)
    lengths = features.norm(dim=-1, keepdim=True)
    found = channel_directions(features * (1 / lengths))
    projected = F.normalize(
        (
            axes
            - F.normalize(base[:, :, 0], dim=-1)
            * F.normalize(base[:, :, 0], dim=-1).mul(axes).sum(-1, keepdim=True)
        ),
        dim=-1,
    ).mean(dim=1)
    assert torch.allclose(found, F.normalize(projected, dim=-1), atol=1e-2)


def test_the_published_mapper_has_its_size_and_sees_signs_alone_of_a_plain_code():
    groups = level_groups(18)
    assert groups == {"coarse": (0, 4), "medium": (4, 8), "fine": (8, 18)}
    mapper = LatentMapper(512, groups, "rows")
    assert sum(p.numel() for p in mapper.parameters()) == 3_151_872
    small = LatentMapper(6, groups, "rows")
    w = torch.randn(1, 1, 6)
    w = (w + w.sign()).expand(1, 18, 6)  # of a number near 0 the norm's small constant is seen
    assert torch.allclose(small(w), small(w.sign()), atol=1e-5)
    own = LatentMapper(6, groups)
    assert not torch.allclose(own(w), own(w.sign()), atol=1e-5)


def test_a_level_that_is_left_out_does_not_change():
    mapper = LatentMapper(6, level_groups(18, ["coarse", "medium"]))
    ws = torch.randn(2, 18, 6)
    change = mapper.edit(ws) - ws
    assert change[:, 8:].abs().max() == 0 and change[:, :8].abs().min(dim=2).values.max() > 0
    assert list(level_groups(6)) == ["coarse", "medium", "fine"]
    styles = {"a": torch.randn(2, 3), "b": torch.randn(2, 4)}
    moved = StyleMapper({"b": 4})(styles)
    assert moved["a"].abs().max() == 0 and moved["b"].abs().max() > 0


def test_optimise_finds_a_minimum_it_can_reach():
    goal = torch.tensor([[0.5, -0.2]])
    found = optimise(
        {"w": torch.zeros(1, 2), "kept": torch.ones(1, 1)},
        moves={"w"},
        draw=lambda parts: parts["w"],
        clip=lambda image: (image - goal).square().sum(dim=1),
        distance_weight=0.0,
        steps=200,
        learning_rate=0.05,
    )
    assert torch.allclose(found["w"], goal, atol=1e-3) and found["kept"].item() == 1.0
    assert rate_at(0, 100, 0.1) == 0.0 and rate_at(50, 100, 0.1) == 0.1
    assert rate_at(99, 100, 0.1) < 0.001


def test_ranger_descends_a_bowl():
    parameter = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    ranger = Ranger([parameter], lr=0.1)
    for _ in range(300):
        parameter.grad = 2 * parameter.detach()
        ranger.step()
    assert parameter.abs().max() < 0.1


def test_views_of_clip():
    image = torch.rand(1, 3, 40, 60) * 2 - 1
    assert shorter_side(image, 16, antialias=True).shape == (1, 3, 16, 16)
    flat = torch.full((1, 3, 40, 60), 0.25)
    for antialias in (True, False):
        assert torch.allclose(shorter_side(flat, 16, antialias=antialias), torch.tensor(0.25))
    square = torch.rand(2, 3, 32, 32)
    assert torch.equal(enlarged_and_pooled(square)[:, :, ::7, ::7], square)
    clip = FakeClip()
    assert torch.allclose(embedder(clip)(square), clip(square)["pooled"], atol=1e-6)
    assert not torch.equal(embedder(clip, "bicubic")(square), embedder(clip, "published")(square))
