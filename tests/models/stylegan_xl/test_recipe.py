"""StyleGAN-XL's recipe: growth, classes, guidance, path length, and the schedule of the phases."""

import dataclasses
import json

import pytest
import torch
from torch.nn import functional as F

from models.interfaces import Batch, ClassTable, Condition, ConditionShape, Site, Start
from models.stylegan_t.discriminator import PIXELS
from models.stylegan_xl.recipe import StyleGANXL

N, CLASSES, WIDTH = 8, 4, 6
SHAPE = ConditionShape(num_labels=CLASSES, class_dim=WIDTH)
SMALL = {
    "stem_layers": 4,
    "channel_base": 256,
    "channel_max": 8,
    "margin_px": 2,
    "z_dim": 8,
    "w_dim": 8,
    "projection_width": 8,
    "discriminator_max": 8,
    "cmap_dim": 8,
    "feature_size_px": 32,
    "norm_batch": 4,
    "path_length_start_kimg": 0.0,
}


def table(role):
    feature = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(3))
    return ClassTable(feature_KE=feature + 5, logit_K=torch.tensor([6, 0, 1, 3]))


def site_of(encoder, resolution=16, start=None, shape=SHAPE, classes=table):
    torch.manual_seed(0)
    return Site(resolution=resolution, shape=shape, encoder=encoder, start=start, classes=classes)


def start_of(recipe, networks, resolution):
    """What an artifact of these networks holds, its card as JSON leaves it."""
    fields = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return Start(
        card={"resolution_px": resolution, "recipe": {"name": recipe.name, "fields": fields}},
        generator={k: v.clone() for k, v in networks.trained["generator"].state_dict().items()},
        discriminator=networks.trained["discriminator"].state_dict(),
    )


def batch_of(resolution=16):
    rng = torch.Generator().manual_seed(1)
    return Batch(
        size=N,
        image_NCHW=torch.rand(N, 3, resolution, resolution, generator=rng) * 2 - 1,
        condition=Condition(label_N=torch.arange(N) % CLASSES),
    )


def step(recipe, networks, batch, nimg=0):
    """One Adam step of every phase."""
    for phase in recipe.phases(networks):
        for net in networks.trained.values():
            net.requires_grad_(False)
        parameters = phase.parameters(nimg)
        for parameter in parameters:
            parameter.requires_grad_(True)
        adam = torch.optim.Adam(parameters, phase.optimizer.learning_rate)
        losses = phase.loss(batch, nimg, torch.Generator().manual_seed(2))
        sum(losses.terms.values()).mean().backward()
        adam.step()


@pytest.mark.parametrize("chain", [(16, 32, 64), (16, 64), (16, 128)])
def test_growth_keeps_the_stem_to_the_bit_and_trains_the_head_alone(encoder, chain):
    recipe = StyleGANXL(**SMALL)
    networks = recipe.build(site_of(encoder))
    step(recipe, networks, batch_of())
    for resolution in chain[1:]:
        before = chain[chain.index(resolution) - 1]
        start = start_of(recipe, networks, before)
        recipe = dataclasses.replace(recipe, heads=(*recipe.heads, (resolution, 4)))
        networks = recipe.build(site_of(encoder, resolution, start))
        generator = networks.trained["generator"]
        kept = {k for k in generator.state_dict() if not generator.in_head(k)}
        # Of the layers, all but the two critical ones and ToRGB; of the rest, everything.
        lost = {k for k in start.generator if k not in kept}
        last = len({k.split(".")[2] for k in start.generator if "layers" in k.split(".")[1]})
        assert {int(k.split(".")[2]) for k in lost} == {last - 3, last - 2, last - 1}
        assert {"path_length"}.isdisjoint(networks.trained)
        step(recipe, networks, batch_of(resolution))
        after = generator.state_dict()
        assert all(torch.equal(after[k], start.generator[k]) for k in kept)
        assert all(
            not torch.equal(after[k], v) or "magnitude" in k
            for k, v in recipe_fresh(recipe, resolution).items()
            if generator.in_head(k)
        )
        image = generator.synthesize(generator.map(torch.randn(2, 8), batch_of().condition[:2]))
        assert image.shape == (2, 3, resolution, resolution)


def recipe_fresh(recipe, resolution):
    torch.manual_seed(0)
    return recipe.generator(resolution, SHAPE).state_dict()


def test_a_grown_artifact_is_rebuilt_from_its_card(encoder):
    recipe = StyleGANXL(**SMALL)
    start = start_of(recipe, recipe.build(site_of(encoder)), 16)
    grown = dataclasses.replace(recipe, heads=((32, 4),))
    networks = grown.build(site_of(encoder, 32, start))
    fields = start_of(grown, networks, 32).card["recipe"]["fields"]
    fields["heads"] = tuple(tuple(head) for head in fields["heads"])
    fields["diff_augment"] = tuple(fields["diff_augment"])
    assert StyleGANXL(**fields) == grown
    StyleGANXL(**fields).generator(32, SHAPE).load_state_dict(
        networks.trained["generator"].state_dict()
    )


def test_the_discriminator_goes_on_where_it_fits_and_is_made_anew_where_not(encoder):
    recipe = StyleGANXL(**SMALL)
    networks = recipe.build(site_of(encoder))
    step(recipe, networks, batch_of())
    start = start_of(recipe, networks, 16)
    grown = dataclasses.replace(recipe, heads=((32, 4),))
    for changes, goes_on in (({}, True), ({"discriminator_max": 4}, False)):
        built = dataclasses.replace(grown, **changes).build(site_of(encoder, 32, start))
        own = built.trained["discriminator"].state_dict()
        theirs = start.discriminator
        assert all(torch.equal(own[k], v) for k, v in theirs.items() if goes_on)
        assert goes_on or any(own[k].shape != v.shape for k, v in theirs.items())


@pytest.mark.parametrize(
    ("fields", "resolution", "grown_from", "message"),
    [
        ({"heads": ((32, 4),)}, 32, None, "set start"),
        ({}, 32, 16, "heads end at 16 px"),
        ({"heads": ((32, 4), (64, 4))}, 64, 16, r"the start has stem_px 16 and heads \[\]"),
        ({"heads": ((48, 4),)}, 48, 16, "2, 4, 8 or 16 times"),
        ({"heads": ((32, 2),)}, 32, 16, "too few"),
        ({"generator_network": "stylegan3", "heads": ((32, 4),)}, 32, 16, "does not grow"),
    ],
)
def test_a_wrong_chain_is_refused_in_words(encoder, fields, resolution, grown_from, message):
    recipe = StyleGANXL(**SMALL)
    start = start_of(recipe, recipe.build(site_of(encoder)), 16) if grown_from else None
    with pytest.raises(ValueError, match=message):
        StyleGANXL(**(SMALL | fields)).build(site_of(encoder, resolution, start))


def test_classes_come_as_features_and_are_frozen_in_both_networks(encoder):
    features = table("").feature_KE
    for kind in ("features", "centred"):
        recipe = StyleGANXL(**SMALL, class_embedding=kind)
        networks = recipe.build(site_of(encoder))
        expected = features - features.mean(dim=0) if kind == "centred" else features
        generator, discriminator = networks.trained["generator"], networks.trained["discriminator"]
        step(recipe, networks, batch_of())
        assert torch.equal(generator.embedding, expected)
        unit = F.normalize(expected, dim=1)
        torch.testing.assert_close(discriminator.embedding_KE, unit)
    trained = StyleGANXL(**SMALL, train_embedding=True)
    networks = trained.build(site_of(encoder))
    step(trained, networks, batch_of())
    assert not torch.equal(networks.trained["generator"].embedding, features)
    fresh = StyleGANXL(**SMALL, class_embedding="random", embed_dim=5, guidance_weight=0.0)
    networks = fresh.build(site_of(encoder, classes=lambda role: None))
    assert networks.trained["generator"].embedding.shape == (CLASSES, 5)
    with pytest.raises(ValueError, match="left no features of the classes"):
        StyleGANXL(**SMALL).build(site_of(encoder, classes=lambda role: None))


def test_guidance_is_the_cross_entropy_over_the_datas_classes(encoder):
    recipe = StyleGANXL(**SMALL, guidance_weight=0.7)
    networks = recipe.build(site_of(encoder))
    batch, guide = batch_of(), networks.frozen["guide"]
    image, label_N = batch.image_NCHW, batch.condition.label_N
    logits = encoder("classifier")(image)["logits"].double()[:, table("").logit_K]
    expected = logits.exp().sum(dim=1).log() - logits[torch.arange(N), label_N]
    torch.testing.assert_close(guide(image, label_N).double(), expected, atol=1e-5, rtol=1e-5)
    losses = recipe.phases(networks)[0].loss(batch, 0, torch.Generator().manual_seed(0))
    entropy = losses.stats["cross_entropy"]
    torch.testing.assert_close(losses.terms["guidance"].detach(), 0.7 * entropy)


def test_a_network_of_its_own_may_guide(encoder):
    """The published guide is no network of the discriminator."""
    asked = []

    def asking(role):
        asked.append(role)
        return encoder("classifier" if role == "guide" else role)

    recipe = StyleGANXL(**SMALL, guidance_role="guide")
    assert recipe.encoder_roles == ("dino", "classifier", "guide")
    recipe.build(site_of(asking))
    assert set(asked) == set(recipe.encoder_roles)
    for fields in ({"guidance_role": "dino"}, {"guidance_role": "guide", "guidance_weight": 0.0}):
        assert StyleGANXL(**SMALL, **fields).encoder_roles == ("dino", "classifier")


def test_a_network_whose_maps_are_too_small_is_named(encoder):
    def small_maps(role):
        net = encoder(role)
        if role == "dino":
            net.map_side = 2
        return net

    with pytest.raises(ValueError, match=r"the transformer \(dino\) cannot be projected: .*4"):
        StyleGANXL(**SMALL).build(site_of(small_maps))


def test_guidance_keeps_to_its_resolutions_and_wants_a_classifier_of_these_classes(encoder):
    for resolution, expected in ((16, False), (32, True), (64, True), (128, False)):
        recipe = StyleGANXL(**SMALL, guidance_min_px=32, guidance_max_px=64, stem_px=resolution)
        assert ("guide" in recipe.build(site_of(encoder, resolution)).frozen) is expected
    unknown = dataclasses.replace(table(""), logit_K=None)
    with pytest.raises(ValueError, match="does not tell the data's classes apart"):
        StyleGANXL(**SMALL).build(site_of(encoder, classes=lambda role: unknown))
    with pytest.raises(ValueError, match="the data has no classes"):
        StyleGANXL(**SMALL).build(site_of(encoder, shape=ConditionShape()))


def test_the_published_learning_rates_follow_from_lazy_regularisation(encoder):
    recipe = StyleGANXL(**SMALL)
    generator, path_length, discriminator = recipe.phases(recipe.build(site_of(encoder)))
    assert (generator.optimizer.learning_rate, path_length.optimizer) == (
        pytest.approx(0.002),
        generator.optimizer,
    )
    assert generator.optimizer.beta2 == pytest.approx(0.99**0.8)
    assert discriminator.optimizer.learning_rate == pytest.approx(0.002 * 16 / 17)
    assert discriminator.optimizer.beta2 == pytest.approx(0.99 ** (16 / 17))
    assert (path_length.steps_of, path_length.every) == ("generator", 4)
    off = StyleGANXL(**SMALL, generator_lazy=0)
    plain = off.phases(off.build(site_of(encoder)))[0].optimizer
    assert (plain.learning_rate, plain.beta2) == (0.0025, 0.99)


def test_the_path_length_begins_when_told(encoder):
    recipe = StyleGANXL(**(SMALL | {"path_length_start_kimg": 1.0}))
    phase = recipe.phases(recipe.build(site_of(encoder)))[1]
    assert phase.parameters(999) == []
    assert len(phase.parameters(1000)) > 10


@pytest.mark.parametrize("policy", [(), ("color", "translation", "cutout")])
def test_each_network_sees_the_image_through_a_draw_of_its_own(encoder, monkeypatch, policy):
    recipe = StyleGANXL(**SMALL, diff_augment=policy)
    networks, seen = recipe.build(site_of(encoder)), []
    for role, reader in (("dino", "patch_maps"), ("classifier", "pyramid")):
        net = networks.frozen[role]
        read = getattr(net, reader)

        def watched(image, *arguments, read=read):
            seen.append(image)
            return read(image, *arguments)

        monkeypatch.setattr(net, reader, watched)
    recipe.phases(networks)[2].loss(batch_of(), 0, torch.Generator().manual_seed(0))
    assert len(seen) == 2
    assert torch.equal(*seen) == (not policy)


@torch.no_grad()
def judged_by_hand(encoder, networks, batch):
    """The logits of real images and of the fakes that the discriminator's phase draws first."""
    generator = networks.trained["generator"]
    z = torch.randn(N, 8, generator=torch.Generator().manual_seed(0))
    fake = generator.synthesize(generator.map(z, batch.condition))
    both = torch.cat([batch.image_NCHW, fake])
    maps = {
        "dino": encoder("dino").patch_maps(both),
        "classifier": encoder("classifier").pyramid(both, 32),
        PIXELS: {PIXELS: both},
    }
    return networks.trained["discriminator"](maps, batch.condition, parts=2)


def test_the_hinge_is_a_mean_over_logits_then_networks(encoder):
    """The two networks have unequal numbers of logits, and count the same."""
    recipe = StyleGANXL(**SMALL, diff_augment=(), blur_init_sigma_px=0.0, guidance_weight=0.0)
    networks = recipe.build(site_of(encoder))
    batch = batch_of()
    phase = recipe.phases(networks)[2]
    ours = phase.loss(batch, 0, torch.Generator().manual_seed(0)).terms["adversarial"]
    logits = judged_by_hand(encoder, networks, batch)
    expected = torch.zeros(N, dtype=torch.float64)
    for x in logits.values():
        real, fake = x.double().chunk(2)
        expected += 0.5 * ((1 - real).clamp(min=0).mean(1) + (1 + fake).clamp(min=0).mean(1))
    assert len({x.shape[1] for x in logits.values()}) >= 1
    torch.testing.assert_close(ours.detach().double(), expected, atol=1e-5, rtol=1e-5)
