"""A generator without captions: z chooses what its image is to show, and CLIP pulls it there."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from models.editing.templates import alternatives
from models.interfaces import Condition, ConditionShape
from models.projected_gan.recipe import ProjectedGAN
from models.projected_gan.sentences import Choices, Sentences
from tests.models.features.small_nets import small_clip
from tests.models.projected_gan.test_recipe import SHAPES, batch_of, build, step

TEMPLATE = "a [red|blue|x] circle [a|blue]"
FIELDS = {"generator_network": "stylegan2", "guidance": 2.0, "sentence": TEMPLATE}


def with_clip(encoder):
    clip = small_clip()
    return lambda role: clip if role == "clip" else encoder(role)


def first_loss(recipe, networks, batch):
    """Return the terms of the generator's first loss, and by hand its draws: z and images."""
    phase = recipe.phases(networks)[0]
    phase.begin(0)
    terms = phase.loss(batch, 0, torch.Generator().manual_seed(0)).terms
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(batch.size, recipe.z_dim, generator=rng)
    generator = networks.trained["generator"]
    ws = generator.map(z, batch.condition)
    noise = generator.draw_noise(batch.size, rng)
    return terms, z, generator.synthesize(ws, batch.condition, noise)


def test_of_each_choice_z_takes_the_option_along_whose_direction_it_points_most():
    choices, z = Choices(TEMPLATE, z_dim=8), torch.randn(200, 8)
    assert choices.counts == [3, 2]
    along = (z / z.norm(dim=1, keepdim=True)) @ choices.directions_OZ.T
    for row, (colour, end) in zip(along, choices(z).tolist(), strict=True):
        assert row[colour] == row[:3].max() and row[3 + end] == row[3:].max()
    assert torch.equal(choices(9 * z), choices(z))


def test_options_of_a_choice_come_about_equally_often():
    choices = Choices("[a|b|c|d|e|f|g|h] circle", z_dim=64)
    found = choices(torch.randn(8000, 64, generator=torch.Generator().manual_seed(0)))
    assert found.flatten().bincount().min() > 500  # 1,000 each if directions were orthogonal


def test_directions_are_the_same_whatever_was_drawn_before():
    first = Choices(TEMPLATE, z_dim=8).directions_OZ
    torch.manual_seed(5)
    assert torch.equal(Choices(TEMPLATE, z_dim=8).directions_OZ, first)


def test_numbers_of_sentences_are_those_of_the_list_that_is_embedded():
    clip, choices = small_clip(), Choices(TEMPLATE, z_dim=8)
    spelt = [f"a {colour} circle {end}" for colour in ("red", "blue", "x") for end in ("a", "blue")]
    assert alternatives([TEMPLATE]) == tuple(spelt)
    chosen = torch.tensor([[0, 0], [0, 1], [1, 0], [2, 1]])
    assert choices.rows(chosen).tolist() == [0, 1, 2, 5]
    assert choices.marked(chosen)[3].tolist() == [0, 0, 1, 0, 1]
    found = Sentences(clip, TEMPLATE, 8).embedding(choices.rows(chosen))
    wanted = ["a red circle a", "a red circle blue", "a blue circle a", "a x circle blue"]
    torch.testing.assert_close(found, clip.encode_text(wanted))


def test_the_class_stands_in_the_hole_of_the_sentence():
    clip, z = small_clip(), torch.randn(6, 8)
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    sentences = Sentences(clip, "a [red|blue] {}", 8, ["x", "circle", "a"])
    colours = Choices("a [red|blue] {}", 8)(z)[:, 0].tolist()
    names = [["x", "circle", "a"][int(i)] for i in label]
    texts = [f"a {('red', 'blue')[i]} {name}" for i, name in zip(colours, names, strict=True)]
    torch.testing.assert_close(sentences(z, label), clip.encode_text(texts))


def test_a_generator_of_stylegan_t_is_told_what_z_chose_and_the_class(encoder):
    """Truncated to nothing, all codes of one choice and class are one."""
    shape = SHAPES["label"]
    fields = {**FIELDS, "generator_network": "stylegan_t", "sentence": "a [red|blue] {}"}
    _, networks = build(with_clip(encoder), shape, label_names=("x", "circle", "a"), **fields)
    generator, z = networks.trained["generator"].eval(), torch.randn(20, 8)
    condition = batch_of(shape).condition[:1][torch.zeros(20, dtype=torch.int64)]
    w = generator.map(z, condition, truncation=0.0)[:, 0].detach()
    chosen = Choices("a [red|blue] {}", 8)(z)[:, 0]
    of_first, of_second = w[chosen == 0], w[chosen == 1]
    assert len(of_first) > 2 and len(of_second) > 2
    assert (of_first == of_first[0]).all() and (of_second == of_second[0]).all()
    assert (of_first[0] - of_second[0]).norm() == pytest.approx(2**0.5)


def test_the_mapping_reads_the_choice_and_not_only_z(encoder):
    """Two z that differ little and choose otherwise have w that differ as two options do."""
    _, networks = build(encoder, **FIELDS)
    mapping = networks.trained["generator"].mapping.eval()
    z = torch.randn(1, 8)
    choices = mapping.choices
    ahead = choices.directions_OZ[:3]
    first, second = (z @ ahead.T).topk(2).indices[0]
    edge = ahead[first] - ahead[second]  # z is moved to just before and just behind the border
    z = z - edge * (z @ edge) / (edge @ edge)
    before, behind = z + 1e-4 * edge, z - 1e-4 * edge
    assert choices(before)[0, 0] != choices(behind)[0, 0]
    farther = z + 3e-4 * edge
    assert choices(farther)[0, 0] == choices(before)[0, 0]
    jump = (mapping(before) - mapping(behind)).norm()
    assert jump > 100 * (mapping(before) - mapping(farther)).norm()


def test_the_loss_is_the_squared_angle_to_the_sentence_that_z_chose(encoder):
    """By hand, from the recipe's own draws."""
    batch = batch_of(SHAPES["none"])
    recipe, networks = build(with_clip(encoder), **FIELDS)
    clip = networks.frozen["clip"]
    terms, z, image = first_loss(recipe, networks, batch)
    numbers = Choices(TEMPLATE, recipe.z_dim)(z)
    texts = [alternatives([TEMPLATE])[2 * colour + end] for colour, end in numbers.tolist()]
    cosine = (clip(image)["pooled"] * F.normalize(clip.encode_text(texts), dim=1)).sum(dim=1)
    torch.testing.assert_close(terms["clip"], 2 * cosine.arccos().square())
    terms["clip"].sum().backward()
    generator = networks.trained["generator"]
    assert generator.mapping.embed.weight.grad.abs().sum() > 0


def test_with_captions_the_loss_is_the_squared_angle_to_the_caption(encoder):
    shape = ConditionShape(pooled_dim=small_clip().embedding_dim)
    recipe, networks = build(with_clip(encoder), shape, guidance=2.0)
    text = F.normalize(torch.randn(4, shape.pooled_dim), dim=1)
    batch = replace(batch_of(SHAPES["none"]), condition=Condition(pooled_ND=text))
    terms, _, image = first_loss(recipe, networks, batch)
    cosine = (networks.frozen["clip"](image)["pooled"] * text).sum(dim=1)
    torch.testing.assert_close(terms["clip"], 2 * cosine.arccos().square())


def test_without_a_sentence_there_is_no_such_term(encoder):
    recipe, networks = build(encoder, generator_network="stylegan2")
    assert "choices" not in dict(networks.trained["generator"].mapping.named_modules())
    assert recipe.encoder_roles == ("classifier",)
    step(recipe, networks, batch_of(SHAPES["none"]))


@pytest.mark.parametrize(
    ("fields", "condition", "wrong"),
    [
        (FIELDS, "none", set()),
        (FIELDS, "label", {"sentence"}),
        (FIELDS | {"sentence": "[a|b] {}"}, "label", {"sentence"}),
        (FIELDS | {"generator_network": "stylegan_t"}, "label", {"sentence"}),
        (FIELDS | {"generator_network": "stylegan_t", "sentence": "[a|b] {}"}, "label", set()),
        (FIELDS | {"generator_network": "stylegan_t"}, "none", set()),
        (FIELDS | {"sentence": "[a|b] {}"}, "none", {"sentence"}),
        (FIELDS, "text", {"sentence"}),
        (FIELDS | {"generator_network": "fastgan"}, "none", {"sentence"}),
        (FIELDS | {"sentence": "a [b]"}, "none", {"sentence"}),
        (FIELDS | {"sentence": ""}, "none", {"sentence"}),
        (FIELDS | {"sentence": "[a|b]" * 30}, "none", {"sentence"}),
        (FIELDS | {"guidance": 0.0}, "none", {"guidance"}),
        ({}, "text", set()),
        ({"guidance": 1.0}, "text", set()),
        ({"guidance": 1.0}, "none", {"sentence"}),
    ],
)
def test_what_does_not_fit_is_named(fields, condition, wrong):
    assert set(ProjectedGAN(**fields).misfits(condition)) == wrong
