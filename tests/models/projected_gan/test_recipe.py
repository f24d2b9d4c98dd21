"""Projected GAN's own: its parts combine by fields, it does not grow, both networks train."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from models.interfaces import Batch, Condition, ConditionShape, Site, Start
from models.layers.augment import mirror_half
from models.projected_gan.recipe import ProjectedGAN
from tests.models.features.small_nets import small_cnn

N, SIZE = 4, 16
TINY = {
    "base_channels": 2,
    "z_dim": 8,
    "channel_base": 64,
    "channel_max": 8,
    "w_dim": 8,
    "num_res_blocks": 1,
    "group_norm_groups": 4,
    "projection_width": 4,
    "discriminator_max": 4,
    "feature_size_px": 32,
    "label_dim": 4,
    "cmap_dim": 4,
    "head_kernel_size": 3,
}
SHAPES = {
    "none": ConditionShape(),
    "label": ConditionShape(num_labels=3),
    "text": ConditionShape(pooled_dim=12),
}


def batch_of(shape):
    return Batch(
        size=N,
        image_NCHW=torch.rand(N, 3, SIZE, SIZE) * 2 - 1,
        condition=Condition(
            label_N=torch.arange(N) % 3 if shape.num_labels else None,
            pooled_ND=F.normalize(torch.randn(N, 12), dim=1) if shape.pooled_dim else None,
        ),
    )


def build(encoder, shape=SHAPES["none"], start=None, resolution=SIZE, label_names=(), **fields):
    recipe, asked = ProjectedGAN(**TINY | fields), []

    def asks(role):
        asked.append(role)
        return encoder(role)

    torch.manual_seed(0)
    site = Site(
        resolution=resolution, shape=shape, encoder=asks, start=start, label_names=label_names
    )
    networks = recipe.build(site)
    assert tuple(asked) == recipe.encoder_roles
    return recipe, networks


def step(recipe, networks, batch):
    """Run one optimizer step of each phase; return the losses by phase."""
    losses = {}
    for phase in recipe.phases(networks):
        for network in networks.trained.values():
            network.requires_grad_(False)
        parameters = [p.requires_grad_() for p in phase.parameters(0)]
        phase.begin(0)
        result = phase.loss(batch, 0, torch.Generator().manual_seed(0))
        losses[phase.name] = sum(result.terms.values()).mean()
        losses[phase.name].backward()
        assert all(p.grad is not None for p in parameters)
        torch.optim.Adam(parameters, 1e-3, (0.0, 0.99)).step()
    return losses


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("generator", ["fastgan", "fastgan_lite", "stylegan2", "stylegan_t"])
@pytest.mark.parametrize("discriminator", ["cnn", "vit", "pixels"])
def test_parts_combine_by_fields(encoder, generator, discriminator, shape):
    fields = {"generator_network": generator, "discriminator_network": discriminator}
    recipe, networks = build(encoder, SHAPES[shape], **fields)
    roles = {"cnn": ("classifier",), "vit": ("dino",), "pixels": ()}[discriminator]
    assert recipe.encoder_roles == roles == tuple(networks.frozen)
    losses = step(recipe, networks, batch_of(SHAPES[shape]))
    assert list(losses) == ["generator", "discriminator"]  # the published order
    assert all(loss.isfinite() for loss in losses.values())
    image = networks.trained["generator"].eval()(
        torch.randn(N, 8), batch_of(SHAPES[shape]).condition
    )
    assert image.shape == (N, 3, SIZE, SIZE)


def test_tokens_are_joined_by_maps_of_the_classifier_and_by_the_picture(encoder):
    trained = {}
    for name, fields in {"tokens": {}, "all": {"cnn_heads": ("stage_1",), "pixel_head": 4}}.items():
        recipe, networks = build(encoder, discriminator_network="vit", **fields)
        before = {n: p.clone() for n, p in networks.trained["discriminator"].named_parameters()}
        step(recipe, networks, batch_of(SHAPES["none"]))
        after = dict(networks.trained["discriminator"].named_parameters())
        moved = {n.split(".")[0] for n, p in after.items() if not torch.equal(p, before[n])}
        trained[name] = moved
    assert trained["all"] - trained["tokens"] == {"map_heads", "pixel_head"}
    assert tuple(networks.frozen) == recipe.encoder_roles == ("dino", "classifier")


@pytest.mark.parametrize("discriminator", ["cnn", "vit", "pixels"])
def test_with_reuse_fakes_the_discriminator_judges_the_images_that_the_generator_drew(
    encoder, discriminator
):
    found = {}
    for reuse in (False, True):
        fields = {"discriminator_network": discriminator, "diff_augment": (), "reuse_fakes": reuse}
        recipe, networks = build(encoder, generator_network="stylegan2", **fields)
        first, second = recipe.phases(networks)
        batches = [batch_of(SHAPES["none"]), batch_of(SHAPES["none"])]
        for number, batch in enumerate(batches):
            first.loss(batch, 0, torch.Generator().manual_seed(number))
        # Fresh fakes of the generator's own seeds are the ones that it learnt by.
        seeds = (5, 5) if reuse else (0, 1)
        found[reuse] = [
            second.loss(batch, 0, torch.Generator().manual_seed(seed)).terms["adversarial"]
            for batch, seed in zip(batches, seeds, strict=True)
        ]
    torch.testing.assert_close(found[True], found[False])


@pytest.mark.parametrize("discriminator", ["cnn", "vit", "pixels"])
def test_every_batch_norm_has_the_field_s_group(encoder, discriminator):
    _, networks = build(encoder, norm_batch=2, discriminator_network=discriminator)
    for network in networks.trained.values():
        norms = [m for m in network.modules() if hasattr(m, "virtual_batch")]
        assert norms
        assert {norm.virtual_batch for norm in norms} == {2}


@pytest.mark.parametrize(
    "fields",
    [
        {"projection_level": 2, "projection_kernel_size": 3},
        {"projection_expand": False, "separable": True, "mirror": True, "diff_augment": ()},
    ],
)
def test_options_of_the_projection_train(encoder, fields):
    recipe, networks = build(encoder, **fields)
    before = networks.trained["discriminator"].projection.state_dict()
    before = {name: t.clone() for name, t in before.items()}
    step(recipe, networks, batch_of(SHAPES["none"]))
    after = networks.trained["discriminator"].projection.state_dict()
    assert all(torch.equal(after[name], t) for name, t in before.items())


def test_lower_levels_need_larger_maps(encoder):
    for level in (0, 1):
        with pytest.raises(ValueError, match=r"projected at 32 px: .*2 px.*set feature_size_px"):
            build(encoder, projection_level=level)


@pytest.mark.parametrize("level", [0, 1])
def test_lower_levels_train_on_larger_maps(level):
    net = small_cnn()  # maps of 32, 16, 8 and 4 px
    fields = {"projection_level": level, "feature_size_px": 128}
    recipe, networks = build(lambda role: net, **fields)
    losses = step(recipe, networks, batch_of(SHAPES["none"]))
    assert all(loss.isfinite() for loss in losses.values())
    projection = networks.trained["discriminator"].projection
    channels = [4, 8, 16, 32] if level else net.stage_channels
    assert projection.out_channels == channels
    assert len(list(projection.buffers())) == 8 * level  # weight and bias of each mixing


def test_it_does_not_grow_but_continues_at_its_own_size(encoder):
    _, networks = build(encoder, SHAPES["label"])
    tensors = {name: net.state_dict() for name, net in networks.trained.items()}

    def start(px):
        return Start(card={"resolution_px": px}, **tensors)

    with pytest.raises(ValueError, match="16 px and this stage 32 px: projected_gan does not grow"):
        build(encoder, SHAPES["label"], start(16), resolution=32)
    torch.manual_seed(9)
    _, again = build(encoder, SHAPES["label"], start(16), projection_seed=7)
    for name, network in again.trained.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, tensors[name][key]), key


def test_stylegan2_has_the_published_sizes():
    published = ProjectedGAN(generator_network="stylegan2", z_dim=64)
    imported = dataclasses.replace(
        published, z_dim=512, w_dim=512, num_mapping_layers=8, mean_beta=0.995, activation_clamp=0.0
    )
    with torch.device("meta"):
        ours, ada = (r.generator(256, ConditionShape()) for r in (published, imported))
    assert sum(p.numel() for p in ours.parameters()) == 24_615_586  # published
    assert sum(p.numel() for p in ada.mapping.parameters()) == 8 * (512 * 512 + 512)
    assert (ours.mapping.mean.beta, ada.mapping.mean.beta) == (0.998, 0.995)
    clamps = [{b.to_rgb.clamp for b in net.synthesis.each_block()} for net in (ours, ada)]
    assert clamps == [{256.0}, {None}]


def test_half_of_the_images_are_mirrored():
    x = torch.arange(12.0).view(1, 3, 1, 4).expand(400, -1, -1, -1)
    y = mirror_half(x, torch.Generator().manual_seed(0))
    flipped = (y[:, 0, 0, 0] != x[:, 0, 0, 0]).float().mean()
    assert 0.4 < flipped < 0.6
    assert all(torch.equal(row, x[0]) or torch.equal(row, x[0].flip(2)) for row in y)


def test_the_defaults_are_the_published_configuration():
    recipe = ProjectedGAN()
    assert (recipe.z_dim, recipe.base_channels, recipe.feature_size_px) == (256, 128, 224)
    assert (recipe.projection_level, recipe.projection_width, recipe.norm_batch) == (2, 64, 8)
    assert recipe.generator_learning_rate == recipe.discriminator_learning_rate == 2e-4
    assert (recipe.beta1, recipe.beta2) == (0.0, 0.99)
    assert (recipe.w_dim, recipe.num_mapping_layers, recipe.mean_beta) == (128, 2, 0.998)
    assert recipe.diff_augment == ("color", "translation", "cutout")
