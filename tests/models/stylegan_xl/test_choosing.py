"""A sentence with choices: the generator is told what z chose, and CLIP pulls the image there."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from models.interfaces import ConditionShape
from models.projected_gan.sentences import Choices
from models.stylegan_xl.recipe import StyleGANXL
from tests.models.features.small_nets import small_clip
from tests.models.stylegan_xl.test_recipe import SMALL, batch_of, site_of, start_of, step

TEMPLATE = "a [red|blue|x] {}"
CLASSES = ("x", "circle", "a", "red")
FIELDS = SMALL | {"sentence": TEMPLATE, "sentence_weight": 2.0, "guidance_weight": 0.0}


def site_with_clip(encoder, *given, **named):
    clip = small_clip()
    site = site_of(lambda role: clip if role == "clip" else encoder(role), *given, **named)
    return dataclasses.replace(site, label_names=CLASSES)


def test_behind_w_stand_the_class_and_the_choice_whatever_the_truncation(encoder):
    networks = StyleGANXL(**FIELDS).build(site_with_clip(encoder))
    generator, z = networks.trained["generator"].eval(), torch.randn(8, 8)
    condition, width = batch_of().condition, SMALL["w_dim"]
    whole, drawn = generator.map(z, condition), generator.map(z, condition, 0.0)
    told = whole[:, :, width:]
    of_class = F.normalize(generator.embedding[condition.label_N], dim=1)
    chosen = F.one_hot(Choices(TEMPLATE, 8)(z)[:, 0], 3)
    wanted = torch.cat([of_class, chosen], dim=1)[:, None, :].expand(-1, generator.num_ws, -1)
    torch.testing.assert_close(told, wanted)
    assert torch.equal(drawn[:, :, width:], told)
    assert torch.equal(drawn[0, :, :width], drawn[4, :, :width])  # both of class 0: its mean
    assert not torch.equal(whole[0, :, :width], whole[4, :, :width])
    assert generator.w_dim == whole.shape[2]


def test_centroids_of_whole_codes_draw_what_the_mapping_made_alone(encoder):
    networks = StyleGANXL(**FIELDS).build(site_with_clip(encoder))
    generator, condition = networks.trained["generator"].eval(), batch_of().condition
    centroids, z = torch.randn(3, generator.w_dim), torch.randn(8, 8)
    drawn, whole = (
        generator.map(z, condition, 0.0, centroids_MD=centroids),
        generator.map(z, condition),
    )
    width = SMALL["w_dim"]
    nearest = torch.cdist(whole[:, 0, :width], centroids[:, :width]).argmin(dim=1)
    torch.testing.assert_close(drawn[:, 0, :width], centroids[nearest, :width])
    assert torch.equal(drawn[:, :, width:], whole[:, :, width:])


def test_what_is_told_shifts_nothing_at_the_start(encoder):
    recipe = StyleGANXL(**FIELDS, input_shift=0.25)
    affine = recipe.build(site_with_clip(encoder)).trained["generator"].synthesis.input.affine
    width = SMALL["w_dim"]
    assert affine.weight[2:, :width].abs().min() > 0
    assert affine.weight[2:, width:].abs().max() == 0


def test_the_loss_is_the_squared_angle_to_the_sentence_of_class_and_choice(encoder):
    """By hand, from the recipe's own draws."""
    recipe, batch = StyleGANXL(**FIELDS), batch_of()
    networks = recipe.build(site_with_clip(encoder))
    clip, generator = networks.frozen["clip"], networks.trained["generator"]
    phase = recipe.phases(networks)[0]
    phase.begin(0)
    terms = phase.loss(batch, 0, torch.Generator().manual_seed(0)).terms
    z = torch.randn(batch.size, 8, generator=torch.Generator().manual_seed(0))
    image = generator.synthesize(generator.map(z, batch.condition), batch.condition)
    words = ["red", "blue", "x"]
    texts = [
        f"a {words[choice]} {CLASSES[label]}"
        for choice, label in zip(
            Choices(TEMPLATE, 8)(z)[:, 0].tolist(), batch.condition.label_N.tolist(), strict=True
        )
    ]
    cosine = (clip(image)["pooled"] * F.normalize(clip.encode_text(texts), dim=1)).sum(dim=1)
    torch.testing.assert_close(terms["clip"], 2 * cosine.arccos().square())
    assert set(terms) == {"adversarial", "clip"}


def test_a_head_is_told_as_its_stem_is_and_no_other_sentence_grows(encoder):
    recipe = StyleGANXL(**FIELDS)
    networks = recipe.build(site_with_clip(encoder))
    step(recipe, networks, batch_of())
    start = start_of(recipe, networks, 16)
    grown = dataclasses.replace(recipe, heads=((32, 4),))
    head = grown.build(site_with_clip(encoder, 32, start))
    step(grown, head, batch_of(32))
    generator, condition = head.trained["generator"], batch_of().condition
    z = torch.randn(8, 8)
    before, after = networks.trained["generator"].eval(), generator.eval()
    codes = before.map(z, condition)
    assert torch.equal(codes[:, 0], after.map(z, condition)[:, 0])
    assert after.synthesize(after.map(z, condition)).shape == (8, 3, 32, 32)
    other = dataclasses.replace(grown, sentence="a [red|blue|circle] {}")
    with pytest.raises(ValueError, match="must be the same"):
        other.build(site_with_clip(encoder, 32, start))


def test_without_classes_the_choice_alone_is_told(encoder):
    recipe = StyleGANXL(**FIELDS | {"sentence": "a [red|blue]"})
    generator = recipe.generator(16, ConditionShape())
    assert generator.told(torch.randn(5, 8), batch_of().condition).shape == (5, 2)


@pytest.mark.parametrize(
    ("fields", "condition", "wrong"),
    [
        ({}, "label", set()),
        ({"sentence": "a [red|blue]"}, "label", {"sentence"}),
        ({}, "none", {"sentence"}),
        ({"sentence": "a [red|blue]"}, "none", set()),
        ({"sentence": "a [red|blue]"}, "text", {"sentence"}),
        ({"sentence": "a {}"}, "label", {"sentence"}),
        ({"sentence": ""}, "label", {"sentence"}),
        ({"sentence": "", "sentence_weight": 0.0}, "label", set()),
        ({"sentence_weight": 0.0}, "label", {"sentence_weight"}),
        ({"generator_network": "stylegan3"}, "label", {"sentence"}),
    ],
)
def test_what_does_not_fit_is_named(fields, condition, wrong):
    assert set(StyleGANXL(**FIELDS | fields).misfits(condition)) == wrong
