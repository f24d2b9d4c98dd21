import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch
from torch.nn import functional as F

from models.interfaces import Batch, Condition, ConditionShape, Site, Start
from models.layers.local_batch_norm import LocalBatchNorm
from models.stylegan_t.recipe import StyleGANT

TINY = StyleGANT(
    channel_base=128,
    channel_max=16,
    num_res_blocks=1,
    z_dim=8,
    group_norm_groups=4,
    cmap_dim=8,
    head_kernel_size=3,
    guidance_crop_px=8,
    blur_init_sigma_px=0.0,
)
SHAPE = ConditionShape(pooled_dim=12)


def build(encoder, recipe=TINY, resolution=16, start=None, shape=SHAPE, seed=0):
    torch.manual_seed(seed)
    site = Site(resolution=resolution, shape=shape, encoder=encoder, start=start)
    return recipe.build(site)


def make_batch(n=8, size=16):
    text = F.normalize(torch.randn(n, 12), dim=1)
    return Batch(
        size=n,
        image_NCHW=torch.rand(n, 3, size, size) * 2 - 1,
        condition=Condition(pooled_ND=text),
    )


def artifact(networks, resolution_px):
    tensors = {
        name: {k: v.clone() for k, v in net.state_dict().items()}
        for name, net in networks.trained.items()
    }
    return Start(
        card={"resolution_px": resolution_px},
        generator=tensors["generator"],
        discriminator=tensors["discriminator"],
    )


def step(recipe, networks, batch):
    """One step of each phase, as the loop takes it: Adam on exactly the phase's parameters."""
    for index, phase in enumerate(recipe.phases(networks)):
        parameters = phase.parameters(0)
        for net in networks.trained.values():
            net.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        settings = phase.optimizer
        adam = torch.optim.Adam(
            parameters, settings.learning_rate, (settings.beta1, settings.beta2), settings.eps
        )
        phase.begin(0)
        losses = phase.loss(batch, 0, torch.Generator().manual_seed(index))
        sum(losses.terms.values()).mean().backward()
        adam.step()
        for parameter in parameters:
            parameter.grad = None
        networks.trained["generator"].mapping.mean.commit(lambda total: total)


def test_growth_trains_new_blocks_and_every_to_rgb_and_leaves_the_rest_bit_equal(encoder):
    start = artifact(build(encoder), 16)
    grown = build(encoder, resolution=32, start=start, seed=1)
    generator = grown.trained["generator"]
    fresh = generator.state_dict()
    for name, tensor in start.generator.items():
        assert torch.equal(fresh[name], tensor), name
    before = {k: v.clone() for k, v in fresh.items()}
    step(TINY, grown, make_batch(size=32))
    trains = {k for k, _ in generator.named_parameters() if ".32." in k or ".to_rgb." in k}
    changed = {k for k, v in generator.state_dict().items() if not torch.equal(before[k], v)}
    assert changed == trains
    assert any(".to_rgb." in k and ".8." in k for k in trains)
    assert "mapping.mean.value" not in changed
    for name, tensor in start.discriminator.items():
        if name.endswith("conv.weight"):  # the discriminator went on from the start
            assert not torch.equal(grown.trained["discriminator"].state_dict()[name], tensor)


def test_growth_starts_from_the_low_resolution_image(encoder):
    """Fresh ToRGB weights are small, so the first image is about the old one, enlarged."""
    base = build(encoder)
    grown = build(encoder, resolution=32, start=artifact(base, 16), seed=1)
    low, high = base.trained["generator"].eval(), grown.trained["generator"].eval()
    z, condition = torch.randn(2, 8), make_batch(2).condition
    skip = low.synthesis.blocks["16"]
    assert high.synthesis.blocks["16"].layers[0].weight.equal(skip.layers[0].weight)
    codes = high.map(z, condition)
    assert torch.equal(codes[:, : low.num_ws], low.map(z, condition))


def test_growth_of_everything_is_a_choice(encoder):
    recipe = replace(TINY, growth="all")
    grown = build(encoder, recipe, resolution=32, start=artifact(build(encoder), 16))
    generator = grown.trained["generator"]
    phase = recipe.phases(grown)[1]
    assert len(phase.parameters(0)) == len(list(generator.parameters()))
    assert generator.mapping.mean.tracks


def test_same_resolution_continues_everything(encoder):
    base = build(encoder)
    start = artifact(base, 16)
    again = build(encoder, start=start, seed=5)
    for name, net in again.trained.items():
        for key, tensor in net.state_dict().items():
            assert torch.equal(tensor, base.trained[name].state_dict()[key])
    assert len(TINY.phases(again)[1].parameters(0)) == len(
        list(again.trained["generator"].parameters())
    )
    without = replace(start, discriminator=None)
    assert build(encoder, start=without, seed=5).trained["discriminator"] is not None


def test_a_start_that_does_not_fit_is_refused(encoder):
    start = artifact(build(encoder), 16)
    foreign = replace(start, card={**start.card, "recipe": {"name": "projected_gan"}})
    with pytest.raises(ValueError, match="of the family projected_gan, wanted stylegan_t"):
        build(encoder, start=foreign)
    with pytest.raises(ValueError, match="16 px and this stage 8 px"):
        build(encoder, resolution=8, start=start)
    with pytest.raises(ValueError, match=r"blocks\.8\.layers\.0\.weight \[16, 16, 3, 3\]"):
        build(encoder, replace(TINY, channel_max=8), start=start)
    with pytest.raises(ValueError, match=r"not in the start: .*layers\.2"):
        build(encoder, replace(TINY, num_res_blocks=2), start=start)


def test_clip_is_asked_for_only_when_it_guides(encoder):
    asked = []

    def recording(role):
        asked.append(role)
        return encoder(role)

    build(recording, replace(TINY, clip_weight=0.0))
    assert asked == ["dino"]
    build(recording)
    assert set(asked) == set(TINY.encoder_roles)
    with pytest.raises(ValueError, match=r"clip_weight: got 1\.6; allowed: 0, for the data"):
        build(recording, shape=ConditionShape(num_labels=3))


def test_guidance_is_weighted_relative_to_the_mean_hinge(encoder):
    networks, batch = build(encoder), make_batch()
    found = {}
    for weight in (0.0, 1.0, 5.0):
        phase = replace(TINY, clip_weight=weight).phases(networks)[1]
        found[weight] = phase.loss(batch, 0, torch.Generator().manual_seed(0)).terms
    assert set(found[0.0]) == {"adversarial"}
    torch.testing.assert_close(found[5.0]["clip"], 5 * found[1.0]["clip"])
    torch.testing.assert_close(found[5.0]["adversarial"], found[0.0]["adversarial"])
    angle = found[1.0]["clip"]
    assert ((angle > 0) & (angle < 9.87)).all()


def test_blur_follows_the_schedule_in_both_phases(encoder):
    recipe = replace(TINY, blur_init_sigma_px=4.0, blur_fade_kimg=1.0)
    networks, batch = build(encoder), make_batch()

    def losses(recipe, nimg):
        return [
            p.loss(batch, nimg, torch.Generator().manual_seed(0)).terms["adversarial"].detach()
            for p in recipe.phases(networks)
        ]

    for early, late, never in zip(
        losses(recipe, 0), losses(recipe, 1000), losses(TINY, 0), strict=True
    ):
        torch.testing.assert_close(late, never)
        assert not torch.allclose(early, never, atol=1e-3)


def test_begin_advances_the_power_iteration(encoder):
    networks = build(encoder)
    conv = networks.trained["discriminator"].heads[0].residual.conv
    torch.nn.init.normal_(conv.weight)
    before = conv.u.clone()
    for phase in TINY.phases(networks):
        phase.begin(0)
        assert not torch.equal(before, conv.u)
        before = conv.u.clone()


def test_class_labels_train_without_text(encoder):
    recipe = replace(TINY, clip_weight=0.0, label_dim=5)
    networks = build(encoder, recipe, shape=ConditionShape(num_labels=3))
    batch = replace(make_batch(), condition=Condition(label_N=torch.arange(8) % 3))
    before = networks.trained["generator"].condition.table.clone()
    step(recipe, networks, batch)
    assert not torch.equal(before, networks.trained["generator"].condition.table)


def test_importing_the_recipes_does_not_import_torch():
    code = "import sys; from models.families import recipes; recipes()"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


OTHER = {
    "channel_base": 256,
    "channel_max": 8,
    "num_res_blocks": 2,
    "z_dim": 6,
    "group_norm_groups": 2,
    "label_dim": 5,
    "cmap_dim": 6,
    "head_kernel_size": 5,
    "generator_learning_rate": 0.1,
    "discriminator_learning_rate": 0.1,
    "beta1": 0.5,
    "beta2": 0.5,
    "clip_weight": 0.3,
    "guidance_crop_px": 12,
    "blur_init_sigma_px": 2.0,
    "blur_fade_kimg": 500.0,
    "diff_augment": (),
    "growth": "all",
    "trains": "text_encoder",
    "text_learning_rate": 0.1,
    "text_clip_weight": 3.0,
    "input_shift": 0.1,
    "pixel_head": 4,
    "cnn_heads": ("stage_1",),
    "reuse_fakes": True,
}


def visible(recipe, encoder):
    """Return what of a recipe reaches a training: sizes, optimizers, what trains, losses."""
    plain = replace(recipe, trains="generator")
    start = artifact(build(encoder, plain), 16)
    grown = build(encoder, plain, resolution=32, start=start)
    again = build(encoder, recipe, start=start)
    wordless = replace(plain, clip_weight=0.0)
    labels = build(encoder, wordless, shape=ConditionShape(num_labels=3))
    nets = [*start.generator.values(), *start.discriminator.values()]
    nets += labels.trained["generator"].state_dict().values()
    clip, captions = encoder("clip"), ("a b", "b c d", "c", "d a")
    condition = Condition(pooled_ND=clip.encode_text(captions), ids_NT=clip.tokenize(captions))
    torch.manual_seed(1)
    batch = replace(make_batch(4), condition=condition)
    return [
        [tuple(tensor.shape) for tensor in nets],
        [[len(phase.parameters(0)) for phase in plain.phases(grown)]],
        [phase.optimizer for phase in recipe.phases(again)],
        [
            {name: term.sum().item() for name, term in phase.loss(batch, 1000, rng).terms.items()}
            for phase in recipe.phases(again)
            for rng in [torch.Generator().manual_seed(0)]
        ],
    ]


def test_no_field_is_read_and_forgotten(reading_encoder):
    """The published code has options without an effect (pitfall 3)."""
    assert set(OTHER) == {field.name for field in fields(StyleGANT)}
    generator = replace(TINY, blur_init_sigma_px=4.0, blur_fade_kimg=2.0)
    text = replace(generator, trains="text_encoder")
    known = {base: visible(base, reading_encoder) for base in (generator, text)}
    assert known[generator] == visible(generator, reading_encoder), "else nothing would be shown"
    for name, value in OTHER.items():
        base = text if name.startswith("text_") else generator
        assert visible(replace(base, **{name: value}), reading_encoder) != known[base], name


def test_the_heads_norm_as_many_samples_as_the_recipe_says(encoder):
    heads = build(encoder).trained["discriminator"]
    norms = [part for part in heads.modules() if isinstance(part, LocalBatchNorm)]
    assert {norm.virtual_batch for norm in norms} == {StyleGANT.norm_batch}
