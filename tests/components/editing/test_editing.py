"""Edits of a small generator by a small CLIP: they go where they should, and nowhere else."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from components.editing import (
    ChannelSweep,
    MapperConfig,
    OptimiseConfig,
    StoredMapper,
    SweepConfig,
    draw,
    edit_by_mapper,
    edit_by_optimising,
    read_channels,
    read_mapper,
    train_mapper,
    write_mapper,
)
from components.editing.edits import by_turns, draw_values
from components.editing.stored_mapper import check_mapper
from components.errors import ConfigError, StorageError
from components.sampling import to_uint8
from models.editing.directions import along
from models.families import recipes, small_fields
from models.interfaces import Condition, ConditionShape
from tests.models.conftest import FakeClip


def to_text(generator, clip, edit, strength, text):
    image = draw_values(generator, edit.at([strength]), Condition())
    return float(clip.distance(image, clip.text(text))[0])


@pytest.mark.parametrize("space", ["w", "w+", "s"])
def test_optimising_comes_nearer_to_the_text(generator, clip, ws, space):
    config = OptimiseConfig(space=space, steps=30, distance_weight=1e-4)
    steps = []
    edit = edit_by_optimising(
        generator, ws, Condition(), clip, "a ring", config, report=steps.append
    )
    before, after = (to_text(generator, clip, edit, x, "a ring") for x in (0.0, 1.0))
    assert after < before
    assert len(steps) == 30 and steps[0].learning_rate == 0.0
    if space == "s":
        fixed = [x.name for x in generator.style_layers() if x.kind == "rgb"]
        assert all(edit.change[name].abs().max() == 0 for name in fixed)
    else:
        rows = edit.change["ws"][0]
        assert bool((rows == rows[:1]).all()) == (space == "w")


def test_a_heavy_distance_keeps_the_code_and_identity_counts(generator, clip, ws):
    free, held = (
        edit_by_optimising(
            generator, ws, Condition(), clip, "x", OptimiseConfig(steps=20, distance_weight=weight)
        )
        for weight in (0.0, 100.0)
    )
    assert held.change["ws"].norm() < 0.5 * free.change["ws"].norm()
    config = OptimiseConfig(steps=20, distance_weight=0.0, identity_weight=100.0)
    net = FakeClip()
    kept = edit_by_optimising(generator, ws, Condition(), clip, "x", config, identity=net)

    def gap(edit):
        images = draw_values(generator, edit.at([0, 1]), Condition())
        one, two = net(images)["pooled"]
        return float(1 - F.cosine_similarity(one, two, dim=0))

    assert gap(kept) < gap(free)


def way_of(generator, clip, edit):
    """Return the cosine of the way that an edit's image goes with the way from "x" to "a ring"."""
    images = draw_values(generator, edit.at([0, 1]), Condition())
    before_NE, after_NE = clip.images(images).split(1)
    return float(along(before_NE, after_NE, clip.direction("x", "a ring"))[0])


def test_a_direction_leads_the_way_between_two_texts(generator, clip, ws):
    plain = OptimiseConfig(steps=30, distance_weight=0.0)
    led = replace(plain, clip_weight=0.0, direction_weight=1.0)
    ways = {}
    for config in (plain, led):
        edit = edit_by_optimising(generator, ws, Condition(), clip, "a ring", config, neutral="x")
        ways[config.direction_weight] = way_of(generator, clip, edit)
    assert ways[1.0] > 0.5 and ways[1.0] > ways[0.0] + 0.1
    with pytest.raises(ConfigError, match="a direction from no text"):
        edit_by_optimising(generator, ws, Condition(), clip, "a ring", led)


def test_codes_searched_for_at_once_are_those_searched_for_alone(generator, clip):
    z = torch.randn(3, generator.z_dim, generator=torch.Generator().manual_seed(5))
    ws = generator.map(z, Condition()).clone()
    config = OptimiseConfig(steps=5, direction_weight=0.5)

    def change(rows):
        found = edit_by_optimising(
            generator, rows, Condition(), clip, "a ring", config, neutral="x"
        )
        return found.change["ws"]

    together, alone = change(ws), change(ws[:1])
    assert together.shape == ws.shape
    assert torch.allclose(together[:1], alone, atol=2e-3) and alone.abs().max() > 0.02


@pytest.mark.parametrize("space", ["w", "w+", "s"])
def test_of_several_starts_each_image_keeps_the_nearest_to_the_text(generator, clip, space):
    z = torch.randn(3, generator.z_dim, generator=torch.Generator().manual_seed(5))
    ws = generator.map(z, Condition()).clone()
    found = {}
    for starts in (1, 4):
        config = OptimiseConfig(space=space, steps=8, distance_weight=0.0, starts=starts)
        edit = edit_by_optimising(generator, ws, Condition(), clip, "a ring", config)
        image = draw_values(generator, edit.at([1.0]), Condition())
        found[starts] = clip.distance(image, clip.text("a ring"))
        assert torch.equal(edit.start["ws"], ws) if space != "s" else "ws" not in edit.start
    assert (found[4] <= found[1]).all() and (found[4] < found[1]).any()


def test_strength_zero_is_the_image_itself(generator, clip, ws):
    edit = edit_by_optimising(generator, ws, Condition(), clip, "x", OptimiseConfig(steps=3))
    images = draw(generator, edit, Condition(), [0.0, 1.0])
    assert images.shape == (2, 16, 16, 3)
    assert (images[:1] == to_uint8(generator.synthesize(ws, Condition()))).all()


# One code, so that the losses of two steps can be compared.
MAPPER = MapperConfig(steps=12, batch=1, codes=1, learning_rate=0.02, save_every=4)


def test_a_mapper_is_resumed_bit_for_bit_and_belongs_to_its_model(generator, clip, ws, tmp_path):
    def trained(config, **options):
        return train_mapper(
            generator, Condition(), clip, "a ring", config, generator_sha256="a" * 64, **options
        )

    losses = []
    whole = trained(MAPPER, report=lambda step, terms: losses.append(sum(terms.values())))
    state = tmp_path / "m.state"

    class Stopped(Exception):
        pass

    def stop(step, terms):
        if step == 9:
            raise Stopped

    with pytest.raises(Stopped):
        trained(MAPPER, state=state, report=stop)
    steps = []
    again = trained(MAPPER, state=state, report=lambda step, terms: steps.append(step))
    assert steps == [8, 9, 10, 11]
    for name, tensor in whole.mapper.state_dict().items():
        assert torch.equal(tensor, again.mapper.state_dict()[name]), name
    assert losses[-1] < losses[0]
    write_mapper(tmp_path / "m.safetensors", whole)
    stored = read_mapper(tmp_path / "m.safetensors")
    assert isinstance(stored, StoredMapper) and stored.text == "a ring"
    assert torch.equal(stored.mapper(ws), whole.mapper(ws))
    check_mapper(stored, generator, ["a" * 64])
    with pytest.raises(ConfigError, match="for weights aaaa"):
        check_mapper(stored, generator, ["b" * 64])
    edit = edit_by_mapper(stored.mapper, ws)
    assert torch.allclose(edit.change["ws"], 0.1 * stored.mapper(ws), atol=1e-6)
    with pytest.raises(ConfigError, match="another mapper's training"):
        train_mapper(
            generator, Condition(), clip, "a dog", MAPPER, generator_sha256="a" * 64, state=state
        )


def test_a_mapper_can_be_led_by_a_direction(generator, clip):
    config = replace(MAPPER, clip_weight=0.0, direction_weight=1.0)
    options = {"generator_sha256": "a" * 64}
    losses = []
    stored = train_mapper(
        generator,
        Condition(),
        clip,
        "a ring",
        config,
        neutral="x",
        report=lambda step, terms: losses.append(terms["direction"]),
        **options,
    )
    assert 0 <= min(losses) < losses[0] <= 2 and stored.facts["neutral"] == "x"
    with pytest.raises(ConfigError, match="a direction from no text"):
        train_mapper(generator, Condition(), clip, "a ring", config, **options)


def test_rows_of_a_condition_are_taken_by_turns():
    two = Condition(label_N=torch.tensor([7, 5]))
    assert by_turns(two, [0, 1, 2, 5]).label_N.tolist() == [7, 5, 7, 5]
    assert by_turns(Condition(), [0, 1, 2]) == Condition()


def test_a_family_without_styles_is_told_so(clip):
    recipe = recipes()["projected_gan"](**{**small_fields("projected_gan"), "z_dim": 6})
    generator = recipe.generator(16, ConditionShape()).eval().requires_grad_(False)
    ws = generator.map(torch.randn(1, 6), Condition()).clone()
    with pytest.raises(ConfigError, match="not scaled by styles"):
        edit_by_optimising(
            generator, ws, Condition(), clip, "x", OptimiseConfig(space="s", steps=1)
        )
    with pytest.raises(ConfigError, match="not scaled by styles"):
        ChannelSweep(generator, Condition(), clip, SweepConfig(codes=4, images=2))
    edit_by_optimising(generator, ws, Condition(), clip, "x", OptimiseConfig(steps=2))


def test_files_of_something_else_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"nothing")
    for read in (read_mapper, read_channels):
        with pytest.raises(StorageError, match="no file of the kind"):
            read(tmp_path / "a")
        with pytest.raises(StorageError, match="there is no such file"):
            read(tmp_path / "b")


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (OptimiseConfig, {"steps": 0}),
        (OptimiseConfig, {"starts": 0}),
        (OptimiseConfig, {"space": "x"}),
        (OptimiseConfig, {"learning_rate": float("nan")}),
        (MapperConfig, {"levels": ("coarse", "coarse")}),
        (MapperConfig, {"levels": ("high",)}),
        (MapperConfig, {"codes": 1}),
        (SweepConfig, {"images": 9, "codes": 4}),
        (SweepConfig, {"psi": 3.0}),
    ],
)
def test_requests_are_checked_first(config, values):
    with pytest.raises(ConfigError):
        config(**values)
