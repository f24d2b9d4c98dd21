"""What the loop relies on, for every registered family and for tiny fakes (conftest.py).

A family is tested here the moment it is registered; name its small sizes in `Family.small`.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from models.families import FAMILIES, recipes, small_fields
from models.interfaces import (
    Batch,
    Condition,
    ConditionShape,
    Site,
    Start,
)

N, SIZE, TEXT, TOKENS, CLASSES = 8, 16, 12, 3, 4

TEXT_SHAPE = ConditionShape(pooled_dim=TEXT)
SHAPES = {
    **dict.fromkeys(recipes(), TEXT_SHAPE),
    "fake_unconditional": ConditionShape(),
    "fake_classes": ConditionShape(num_labels=CLASSES),
    "fake_words": ConditionShape(token_dim=TEXT),
    "fake_adaptation": TEXT_SHAPE,
}


@pytest.fixture(params=SHAPES)
def case(request, encoder, fake_recipes):
    """(recipe, networks, batch), built as a stage builds them."""
    name, shape = request.param, SHAPES[request.param]
    recipe = recipes()[name](**small_fields(name)) if name in recipes() else fake_recipes[name]
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
    assert all(cls.name == name for name, cls in recipes().items())
    assert all(small_fields(name) for name in FAMILIES)


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


def test_generator_is_rebuilt_from_the_artifact(case, request):
    """A fresh generator loads an artifact's tensors by name and makes the same images."""
    recipe, networks, batch = case
    model = networks.trained[networks.model].eval()
    shape = SHAPES[request.node.callspec.params["case"]]
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


def test_a_required_start_is_asked_for(encoder, fake_recipes):
    with pytest.raises(ValueError, match="start"):
        fake_recipes["fake_adaptation"].build(
            Site(resolution=SIZE, shape=TEXT_SHAPE, encoder=encoder)
        )
