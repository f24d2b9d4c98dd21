"""StyleGAN-T's secondary phase: only the text encoder moves, towards what the frozen one asks."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from models.interfaces import Batch, Condition, ConditionShape, Site, Start
from models.stylegan_t.recipe import StyleGANT
from models.text_to_image import AlignedGenerator, TextToImage
from models.warm_start import copy_by_name

BASE = StyleGANT(
    channel_base=128,
    channel_max=16,
    num_res_blocks=1,
    z_dim=8,
    group_norm_groups=4,
    cmap_dim=8,
    head_kernel_size=3,
    guidance_crop_px=8,
    blur_init_sigma_px=0.0,
    clip_weight=0.5,
)
PHASE = replace(BASE, trains="text_encoder", text_learning_rate=0.01, text_clip_weight=4.0)
SHAPE = ConditionShape(pooled_dim=12)


def build(encoder, recipe, start=None, resolution=16, shape=SHAPE):
    torch.manual_seed(1)
    return recipe.build(Site(resolution=resolution, shape=shape, encoder=encoder, start=start))


def make_batch(encoder, captions=("a b", "b c d", "c", "d a"), size=16):
    clip = encoder("clip")
    ids = clip.tokenize(captions)
    condition = Condition(pooled_ND=clip.encode_text(captions), ids_NT=ids)
    images = torch.rand(len(captions), 3, size, size) * 2 - 1
    return Batch(size=len(captions), condition=condition, image_NCHW=images)


@pytest.fixture
def start(reading_encoder):
    networks = build(reading_encoder, BASE)
    states = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in
              networks.trained.items()}  # fmt: skip
    return Start(
        card={"resolution_px": 16},
        generator=states["generator"],
        discriminator=states["discriminator"],
    )


def weights(networks):
    modules = {**networks.frozen, **networks.trained}
    return {f"{m}.{n}": t.clone() for m, net in modules.items() for n, t in
            net.state_dict().items()}  # fmt: skip


def step(recipe, networks, batch, index=0):
    phase = recipe.phases(networks)[index]
    for net in networks.trained.values():
        net.train().requires_grad_(False)
    parameters = phase.parameters(0)
    for parameter in parameters:
        parameter.requires_grad_(True)
    adam = torch.optim.Adam(parameters, phase.optimizer.learning_rate)
    if phase.begin is not None:
        phase.begin(0)
    losses = phase.loss(batch, 0, torch.Generator().manual_seed(0))
    sum(losses.terms.values()).mean().backward()
    adam.step()
    return losses


def test_only_the_text_encoder_moves(reading_encoder, start):
    networks = build(reading_encoder, PHASE, start)
    assert [phase.name for phase in PHASE.phases(networks)] == ["text_encoder"]
    for name, tensor in start.generator.items():
        assert torch.equal(networks.trained["generator"].generator.state_dict()[name], tensor)
    before = weights(networks)
    step(PHASE, networks, make_batch(reading_encoder))
    for module in networks.trained["generator"].modules():  # as the loop does after every step
        if hasattr(module, "commit"):
            module.commit(lambda total: total)
    after = weights(networks)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    own = {name for name in after if name.startswith("generator.text_encoder.")}
    trained = {f"generator.{n}" for n, _ in networks.trained["generator"].named_parameters()}
    assert moved == own & trained


def test_it_starts_at_the_frozen_encoder_and_so_at_the_same_images(reading_encoder, start):
    networks, batch = build(reading_encoder, PHASE, start), make_batch(reading_encoder)
    model = networks.trained["generator"].eval()
    z = torch.randn(4, 8)
    own = model.map(z, batch.condition)
    torch.testing.assert_close(own, model.generator.map(z, batch.condition))
    prompts = ["a b", "b c d", "c", "d a"]
    joined = TextToImage.of(model, reading_encoder("clip"))
    assert joined.text_encoder is model.text_encoder
    torch.testing.assert_close(joined(prompts, z), model.synthesize(own, batch.condition))


def test_the_target_is_the_frozen_encoders_and_the_generator_reads_its_own(reading_encoder, start):
    networks, batch = build(reading_encoder, PHASE, start), make_batch(reading_encoder)
    loss = PHASE.phases(networks)[0].loss
    other = replace(batch.condition, pooled_ND=F.normalize(torch.randn(4, 12), dim=1))

    def terms(condition):
        torch.manual_seed(0)
        rng = torch.Generator().manual_seed(0)
        return loss(replace(batch, condition=condition), 0, rng).terms

    model, z = networks.trained["generator"], torch.randn(4, 8)
    assert torch.equal(model.map(z, batch.condition), model.map(z, other)), "reads ids alone"
    assert not torch.allclose(terms(batch.condition)["clip"], terms(other)["clip"])
    assert not torch.allclose(terms(batch.condition)["adversarial"], terms(other)["adversarial"])
    with torch.no_grad():  # the model's own encoder moves away: the target stays
        for parameter in model.text_encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    image = model.synthesize(model.map(z, batch.condition), batch.condition)
    assert not torch.allclose(
        image, model.synthesize(model.generator.map(z, batch.condition), None)
    )


def test_the_gradient_lowers_the_guidance(reading_encoder, start):
    recipe = replace(PHASE, text_clip_weight=400.0)
    networks, batch = build(reading_encoder, recipe, start), make_batch(reading_encoder)
    found = [step(recipe, networks, batch).stats["clip_distance"].mean() for _ in range(12)]
    assert min(found[6:]) < found[0]


def test_published_values(reading_encoder, start):
    """Code: learning rate 3e-6. Paper: weight 50, and 0.2 before, at a micro-batch of 8."""
    published = StyleGANT()
    assert published.text_learning_rate == 3e-6
    assert published.text_clip_weight == 50 * 8
    assert published.clip_weight == pytest.approx(0.2 * 8)
    assert replace(published, trains="text_encoder").guidance == 400
    (phase,) = replace(PHASE, text_learning_rate=3e-6).phases(build(reading_encoder, PHASE, start))
    assert phase.optimizer.learning_rate == 3e-6
    assert (phase.optimizer.beta1, phase.optimizer.beta2) == (0.0, 0.99)


@pytest.mark.parametrize("batch_gpu", [1, 4, 8])
def test_our_weight_is_theirs_times_the_micro_batch(reading_encoder, batch_gpu):
    """Theirs: adversarial / batch_gpu + w * guidance. Ours at w * batch_gpu: batch_gpu times it."""
    w, batch = 0.2, make_batch(reading_encoder)
    networks = build(reading_encoder, replace(BASE, clip_weight=1.0))

    def terms(weight):
        rng = torch.Generator().manual_seed(0)
        phase = replace(BASE, clip_weight=weight).phases(networks)[1]
        return phase.loss(batch, 0, rng).terms

    plain = terms(1.0)
    theirs = plain["adversarial"].mean() / batch_gpu + w * plain["clip"].mean()
    ours = sum(terms(w * batch_gpu).values()).mean()
    torch.testing.assert_close(ours, batch_gpu * theirs)


def test_growing_from_it_keeps_the_trained_encoder_and_trains_the_blocks(reading_encoder, start):
    networks = build(reading_encoder, PHASE, start)
    step(PHASE, networks, make_batch(reading_encoder))
    text = networks.trained["generator"].text_encoder.network.state_dict()
    aligned = replace(start, text_encoder={k: v.clone() for k, v in text.items()})
    grown = build(reading_encoder, BASE, aligned, resolution=32)
    model = grown.trained["generator"]
    assert isinstance(model, AlignedGenerator) and model.resolution == 32
    batch = make_batch(reading_encoder, size=32)
    before = weights(grown)
    for index in range(2):
        step(BASE, grown, batch, index)
    after = weights(grown)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert not any("text_encoder" in name or name.startswith(("clip", "dino")) for name in moved)
    assert any(".32." in name for name in moved)
    for name, tensor in aligned.text_encoder.items():
        assert torch.equal(model.text_encoder.network.state_dict()[name], tensor)
    again = build(reading_encoder, PHASE, aligned)
    copy_by_name(again.trained["generator"].text_encoder.network, aligned.text_encoder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": None}, "wants a start of the stage's own resolution"),
        ({"resolution": 32}, "to grow, set trains to generator"),
        ({"shape": ConditionShape(num_labels=3)}, "the data has no text"),
    ],
)
def test_what_it_cannot_start_from_is_one_line(reading_encoder, start, changes, message):
    with pytest.raises(ValueError, match=message):
        build(reading_encoder, PHASE, **{"start": start, **changes})


def test_ids_are_asked_for(reading_encoder, start):
    networks, batch = build(reading_encoder, PHASE, start), make_batch(reading_encoder)
    bare = replace(batch, condition=replace(batch.condition, ids_NT=None))
    with pytest.raises(ValueError, match="wants token ids"):
        PHASE.phases(networks)[0].loss(bare, 0, torch.Generator())
