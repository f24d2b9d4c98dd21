"""What the loop relies on, for every registered family and for tiny fakes of the kinds to come.

A family is tested here the moment it is registered; give it small sizes in SMALL.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.interfaces import (
    Batch,
    Condition,
    ConditionShape,
    Losses,
    Networks,
    OptimizerSettings,
    Phase,
    Site,
    Start,
)
from models.recipes import RECIPES

N, SIZE, TEXT, TOKENS, CLASSES = 8, 16, 12, 3, 4

SMALL = {
    "stylegan_t": {
        "channel_base": 128,
        "channel_max": 16,
        "num_res_blocks": 1,
        "z_dim": 8,
        "group_norm_groups": 4,
        "cmap_dim": 8,
        "head_kernel_size": 3,
        "guidance_crop_px": 8,
        "blur_init_sigma_px": 1.0,
    },
}


class PlainGenerator(nn.Module):
    """z and a vector -> image."""

    def __init__(self, condition_dim: int) -> None:
        super().__init__()
        self.z_dim, self.resolution = 4, SIZE
        self.first = nn.Linear(4 + condition_dim, 8)
        self.last = nn.Linear(8, 3 * SIZE * SIZE)

    def map(self, z, condition, truncation=1.0):
        parts = [z * truncation, vector_of(condition)]
        return self.first(torch.cat([p for p in parts if p is not None], dim=1))[:, None]

    def synthesize(self, ws, condition, noise="const"):
        return self.last(ws[:, 0].tanh()).view(-1, 3, SIZE, SIZE).tanh()


def vector_of(condition):
    if condition.label_N is not None:
        return F.one_hot(condition.label_N, CLASSES).float()
    if condition.tokens_NTD is not None:
        return (condition.tokens_NTD * condition.mask_NT[..., None]).sum(dim=1)
    return condition.pooled_ND


@dataclass(frozen=True, kw_only=True)
class FakeGan:
    """Discriminator and generator, conditioned on nothing, classes or words; D every 2nd time."""

    name: ClassVar[str] = "fake_gan"
    tunable: ClassVar[dict[str, tuple[float, float]]] = {"weight": (0.5, 2.0)}
    needs_data: ClassVar[bool] = True
    encoder_roles: ClassVar[tuple[str, ...]] = ()
    weight: float = 1.0

    def generator(self, resolution, shape):
        return PlainGenerator(max(shape.pooled_dim, shape.num_labels, shape.token_dim))

    def build(self, site):
        generator = self.generator(site.resolution, site.shape)
        judge = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 1))
        return Networks(trained={"generator": generator, "discriminator": judge})

    def phases(self, networks):
        generator, judge = networks.trained["generator"], networks.trained["discriminator"]

        def fake(batch, rng):
            z = torch.randn(batch.size, 4, generator=rng)
            return generator.synthesize(generator.map(z, batch.condition), batch.condition)

        def judge_loss(batch, nimg, rng):
            term = F.softplus(judge(fake(batch, rng).detach())) + F.softplus(
                -judge(batch.image_NCHW)
            )
            return Losses(terms={"adversarial": self.weight * term[:, 0]})

        def generator_loss(batch, nimg, rng):
            return Losses(terms={"adversarial": F.softplus(-judge(fake(batch, rng)))[:, 0]})

        adam = OptimizerSettings(learning_rate=0.01)
        return [
            Phase(
                name="generator",
                parameters=lambda nimg: list(generator.parameters()),
                loss=generator_loss,
                optimizer=adam,
            ),
            Phase(
                name="discriminator",
                parameters=lambda nimg: list(judge.parameters()),
                loss=judge_loss,
                optimizer=adam,
                every=2,
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class FakeAdaptation:
    """No discriminator, no data: a copy of the start moves towards a direction of CLIP's space."""

    name: ClassVar[str] = "fake_adaptation"
    tunable: ClassVar[dict[str, tuple[float, float]]] = {}
    needs_data: ClassVar[bool] = False
    encoder_roles: ClassVar[tuple[str, ...]] = ("clip",)

    def generator(self, resolution, shape):
        return PlainGenerator(shape.pooled_dim)

    def build(self, site):
        if site.start is None:
            raise ValueError("adaptation starts from an artifact: set `start`")
        nets = [self.generator(site.resolution, site.shape) for _ in range(2)]
        for net in nets:
            net.load_state_dict(dict(site.start.generator))
        frozen = {"clip": site.encoder("clip"), "original": nets[1]}
        return Networks(trained={"generator": nets[0]}, frozen=frozen)

    def phases(self, networks):
        generator, original = networks.trained["generator"], networks.frozen["original"]
        clip = networks.frozen["clip"]
        text = clip.encode_text(["a photo", "a sketch"])

        def loss(batch, nimg, rng):
            z = torch.randn(batch.size, 4, generator=rng)
            ws = generator.map(z, batch.condition)
            with torch.no_grad():
                before = clip(original.synthesize(ws, batch.condition))["pooled"]
            after = clip(generator.synthesize(ws, batch.condition))["pooled"]
            aligned = F.cosine_similarity(after - before.mean(dim=0), (text[1] - text[0])[None])
            return Losses(terms={"direction": 1 - aligned})

        def parameters(nimg):
            return list(generator.last.parameters())  # layers are chosen; the mapping stays

        adam = OptimizerSettings(learning_rate=0.01)
        return [Phase(name="generator", parameters=parameters, loss=loss, optimizer=adam)]


TEXT_SHAPE = ConditionShape(pooled_dim=TEXT)
CASES = {
    **{name: (cls(**SMALL[name]), TEXT_SHAPE) for name, cls in RECIPES.items()},
    "fake_unconditional": (FakeGan(), ConditionShape()),
    "fake_classes": (FakeGan(), ConditionShape(num_labels=CLASSES)),
    "fake_words": (FakeGan(weight=0.5), ConditionShape(token_dim=TEXT)),
    "fake_adaptation": (FakeAdaptation(), TEXT_SHAPE),
}


@pytest.fixture(params=CASES)
def case(request, encoder):
    """(recipe, networks, batch), built as a stage builds them."""
    recipe, shape = CASES[request.param]
    torch.manual_seed(0)
    start = None
    if not recipe.needs_data:
        generator = recipe.generator(SIZE, shape).state_dict()
        start = Start(card={"resolution_px": SIZE}, generator=generator)
    asked = []

    def site_encoder(role):
        asked.append(role)
        return encoder(role)

    site = Site(resolution=SIZE, shape=shape, encoder=site_encoder, start=start)
    networks = recipe.build(site)
    assert set(asked) <= set(recipe.encoder_roles)
    for net in networks.frozen.values():
        net.requires_grad_(False)
    return recipe, networks, make_batch(recipe, shape)


def make_batch(recipe, shape):
    condition = Condition(
        pooled_ND=F.normalize(torch.randn(N, TEXT), dim=1) if shape.pooled_dim else None,
        label_N=torch.arange(N) % CLASSES if shape.num_labels else None,
        tokens_NTD=torch.randn(N, TOKENS, TEXT) if shape.token_dim else None,
        mask_NT=torch.ones(N, TOKENS, dtype=torch.bool) if shape.token_dim else None,
    )
    image = torch.rand(N, 3, SIZE, SIZE) * 2 - 1 if recipe.needs_data else None
    return Batch(size=N, condition=condition, image_NCHW=image)


def snapshot(networks):
    modules = networks.trained | {f"frozen {k}": v for k, v in networks.frozen.items()}
    return {
        f"{m}.{k}": v.clone() for m, net in modules.items() for k, v in net.state_dict().items()
    }


def changed(before, networks):
    return {k for k, v in snapshot(networks).items() if not torch.equal(before[k], v)}


def names_of(parameters, networks):
    known = {
        id(p): f"{m}.{k}" for m, n in networks.trained.items() for k, p in n.named_parameters()
    }
    return {known[id(p)] for p in parameters}


def enable(phase, networks):
    for net in networks.trained.values():
        net.requires_grad_(False)
    for parameter in phase.parameters(0):
        parameter.requires_grad_(True)


def test_is_a_frozen_keyword_only_dataclass(case):
    recipe, networks, _ = case
    assert dataclasses.is_dataclass(recipe)
    assert all(field.kw_only for field in dataclasses.fields(recipe))
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "other"
    fields = {field.name for field in dataclasses.fields(recipe)}
    assert set(recipe.tunable) <= fields
    assert all(low < high for low, high in recipe.tunable.values())
    assert networks.model in networks.trained
    assert len({phase.name for phase in recipe.phases(networks)}) == len(recipe.phases(networks))


def test_registered_under_its_own_name():
    assert all(cls.name == name for name, cls in RECIPES.items())
    assert set(SMALL) == set(RECIPES)


def test_after_one_step_exactly_the_phases_parameters_changed(case):
    recipe, networks, batch = case
    for phase in recipe.phases(networks):
        enable(phase, networks)
        if phase.begin is not None:
            phase.begin(0)
        before = snapshot(networks)
        parameters = phase.parameters(0)
        adam = torch.optim.Adam(
            parameters,
            phase.optimizer.learning_rate,
            (phase.optimizer.beta1, phase.optimizer.beta2),
        )
        losses = phase.loss(batch, 0, torch.Generator().manual_seed(0))
        assert losses.terms
        for name, term in losses.terms.items():
            assert term.shape == (N,), name
            assert torch.isfinite(term).all()
            assert term.requires_grad
        assert not any(stat.requires_grad for stat in losses.stats.values())
        assert changed(before, networks) == set(), "a loss only reads"
        sum(losses.terms.values()).mean().backward()
        adam.step()
        assert changed(before, networks) == names_of(parameters, networks)


def test_draws_come_from_the_given_generator_alone(case):
    recipe, networks, batch = case
    for phase in recipe.phases(networks):
        enable(phase, networks)
        found = []
        for global_seed, seed in ((1, 5), (2, 5), (2, 6)):
            torch.manual_seed(global_seed)
            state = torch.get_rng_state()
            found.append(phase.loss(batch, 0, torch.Generator().manual_seed(seed)).terms)
            assert torch.equal(state, torch.get_rng_state())
        for name, term in found[0].items():
            assert torch.equal(term, found[1][name])
            assert not torch.equal(term, found[2][name])


def test_generator_is_rebuilt_from_the_artifact(case):
    """A fresh generator loads an artifact's tensors by name and makes the same images."""
    recipe, networks, batch = case
    model = networks.trained[networks.model].eval()
    shape = next(shape for r, shape in CASES.values() if r is recipe)
    fresh = recipe.generator(SIZE, shape).eval()
    fresh.load_state_dict(model.state_dict(), strict=True)
    z = torch.randn(N, model.z_dim)
    for truncation in (1.0, 0.5):
        images = [
            net.synthesize(net.map(z, batch.condition, truncation), batch.condition)
            for net in (model, fresh)
        ]
        assert images[0].shape == (N, 3, SIZE, SIZE)
        assert torch.equal(*images)
    with torch.device("meta"):
        sizes = {k: v.shape for k, v in recipe.generator(SIZE, shape).state_dict().items()}
    assert sizes == {k: v.shape for k, v in model.state_dict().items()}


def test_a_required_start_is_asked_for(encoder):
    with pytest.raises(ValueError, match="start"):
        FakeAdaptation().build(Site(resolution=SIZE, shape=TEXT_SHAPE, encoder=encoder))
