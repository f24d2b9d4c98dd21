"""One iteration against numbers that are not finite, statistics that must be equal, and misuse."""

import dataclasses

import pytest
import torch

from components.errors import NonFiniteError
from components.training.distributed import World
from components.training.feed import Feed
from components.training.loop import iteration
from components.training.state import TrainState
from models.interfaces import Losses
from tests.components.training.fake_recipes import FakeGAN, FakeSource, fake_config, fake_site

NAN, INF = float("nan"), float("inf")
CPU = torch.device("cpu")


def begin(recipe):
    torch.manual_seed(1)
    networks = recipe.build(fake_site())
    return TrainState.build(networks, recipe.phases(networks))


def step(state, config=None, nimg=0, last_state="nimg 0"):
    config = config or fake_config()
    state.nimg = nimg
    with Feed(FakeSource(), range(4), config, CPU) as feed:
        atoms = feed.take(nimg)
    return iteration(
        state, atoms, config=config, seed=0, world=World(), device=CPU, last_state=last_state
    )


def tensors(state, prefix="networks/"):
    return {n: t.clone() for n, t in state.tensors().items() if n.startswith(prefix)}


@pytest.mark.row("A11")
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_poisoned_phase_is_cancelled_and_the_others_go_on(value):
    poison = lambda phase, nimg: value if phase == "make" and nimg == 8 else 1.0  # noqa: E731
    state = begin(FakeGAN(poison=poison))
    step(state)
    before = tensors(state, "")
    results = step(state, nimg=8)
    after = tensors(state, "")
    assert results["make"].skipped and not results["judge"].skipped
    moved = {n.split("/")[1] for n in before if not torch.equal(before[n], after[n])}
    # The generator, its running mean and its optimizer are bit-unchanged (judge gathers no mean
    # here:
    # its forward passes do, and are committed before the poisoned phase).
    generator = [n for n in before if n.startswith("networks/generator/") and "mean" not in n]
    assert all(torch.equal(before[n], after[n]) for n in generator)
    make = [n for n in before if n.startswith("optimizers/make/")]
    assert make and all(torch.equal(before[n], after[n]) for n in make)
    assert moved >= {"discriminator", "judge"}
    assert all(t.isfinite().all() for t in after.values())
    assert state.nonfinite_total == 1 and state.nonfinite_streak["make"] == 1
    step(state, nimg=16)
    assert state.nonfinite_streak["make"] == 0 and state.nonfinite_total == 1


def test_a_poisoned_running_mean_is_not_kept():
    class Poisoned(FakeGAN):
        def phases(self, networks):
            phases = super().phases(networks)
            generator = networks.trained["generator"]
            make = phases[1].loss

            def loss(batch, nimg, rng):
                losses = make(batch, nimg, rng)
                generator.mean.observe(torch.full((2, 6), NAN))
                return Losses(terms={n: t * NAN for n, t in losses.terms.items()})

            return [dataclasses.replace(phases[1], loss=loss)]

    state = begin(Poisoned())
    before = tensors(state)
    assert step(state)["make"].skipped
    assert all(torch.equal(before[n], t) for n, t in tensors(state).items())
    assert not state.networks.trained["generator"].mean.gathered.any()


@pytest.mark.row("A11")
def test_a_gradient_that_is_not_finite_is_found_though_the_loss_is():
    class Steep(FakeGAN):
        def phases(self, networks):
            phases = super().phases(networks)
            strength = networks.trained["generator"].strength

            def loss(batch, nimg, rng):
                zero = (strength - strength.detach()).sqrt()  # sqrt at 0: slope infinite
                return Losses(terms={"root": zero.expand(batch.size)})

            return [dataclasses.replace(phases[1], loss=loss)]

    state = begin(Steep())
    before = tensors(state)
    result = step(state)["make"]
    assert result.losses == {"make/root": 0.0} and result.skipped
    assert all(torch.equal(before[n], t) for n, t in tensors(state).items())


@pytest.mark.row("A11")
def test_too_many_cancelled_steps_end_the_run_and_name_all():
    state = begin(FakeGAN(poison=lambda phase, nimg: NAN if phase == "make" else 1.0))
    config = fake_config(max_nonfinite_skips=2)
    before = tensors(state, "networks/generator/")
    for nimg in (0, 8):
        assert step(state, config, nimg)["make"].skipped
    with pytest.raises(NonFiniteError) as caught:
        step(state, config, 16, last_state="nimg 8")
    message = str(caught.value)
    for part in ("3 steps in a row", "make/adversarial", "make/size", "gradients of generator"):
        assert part in message
    assert "phase make at nimg 16, last good state nimg 8" in message and "\n" not in message
    assert caught.value.exit_code == 4 and state.nonfinite_total == 3
    after = tensors(state, "networks/generator/")
    assert all(torch.equal(before[n], after[n]) for n in before if "mean" not in n)


class Decaying(FakeGAN):
    """The generator's phase alone; one parameter decays by 0.5, the others by 0.1."""

    def phases(self, networks):
        phase = super().phases(networks)[1]
        first, *others = phase.parameters(0)
        settings = dataclasses.replace(phase.optimizer, decay={0.5: [first], 0.1: others})
        return [dataclasses.replace(phase, optimizer=settings)]


def test_weights_that_decay_take_the_steps_of_adamw():
    state = begin(Decaying(learning_rate=0.1))
    (phase,) = state.phases
    own = state.enable(phase)
    twins = [torch.nn.Parameter(p.detach().clone()) for p in own]
    groups = [
        {"params": twins[:1], "weight_decay": 0.5},
        {"params": twins[1:], "weight_decay": 0.1},
    ]
    theirs = torch.optim.AdamW(groups, lr=0.1, betas=(0.0, 0.99))
    for factor in (1.0, 0.5, 0.25):  # the rate falls, and with it what decays
        state.scale_rate(phase, factor)
        for group in theirs.param_groups:
            group["lr"] = 0.1 * factor
        for parameter, twin in zip(own, twins, strict=True):
            parameter.grad = torch.randn_like(parameter)
            twin.grad = parameter.grad.clone()
        state.step(phase)
        theirs.step()
    for parameter, twin in zip(own, twins, strict=True):
        torch.testing.assert_close(parameter, twin, rtol=1e-6, atol=1e-7)


def test_a_cancelled_step_takes_nothing_off_weights_that_decay():
    state = begin(Decaying(poison=lambda phase, nimg: NAN))
    before = tensors(state, "networks/generator/")
    assert step(state)["make"].skipped
    after = tensors(state, "networks/generator/")
    assert all(torch.equal(before[n], after[n]) for n in before if "mean" not in n)


def test_a_term_that_is_already_a_mean_is_refused():
    class Mean(FakeGAN):
        def phases(self, networks):
            phases = super().phases(networks)
            strength = networks.trained["generator"].strength
            return [dataclasses.replace(phases[1], loss=lambda *_: Losses(terms={"x": strength}))]

    with pytest.raises(ValueError, match=r"phase make, loss x: wanted one value per sample \[2\]"):
        step(begin(Mean()))


def test_a_parameter_of_no_trained_network_is_refused():
    class Foreign(FakeGAN):
        def phases(self, networks):
            extra = torch.nn.Parameter(torch.zeros(1))
            phase = super().phases(networks)[0]
            return [dataclasses.replace(phase, parameters=lambda nimg: [extra])]

    with pytest.raises(ValueError, match="1 parameters are in no trained network"):
        step(begin(Foreign()))


def test_the_step_is_adam_of_the_mean_loss():
    """Against torch's plain Adam on the loss of the whole batch, computed at once."""
    config = fake_config(micro_batch=2)
    state = begin(FakeGAN())
    reference = begin(FakeGAN()).networks.trained["discriminator"]

    class Square(FakeGAN):
        def phases(self, networks):
            judge = networks.trained["discriminator"]

            def loss(batch, nimg, rng):
                return Losses(terms={"x": judge(batch.image_NCHW).square().mean(1)})

            return [dataclasses.replace(super().phases(networks)[0], loss=loss, begin=None)]

    state.phases = Square().phases(state.networks)
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.002, betas=(0.0, 0.99), fused=False)
    for nimg in (0, 8, 16):
        step(state, config, nimg)
        optimizer.zero_grad()
        reference(FakeSource().atom(nimg, 8).image_NCHW).square().mean(1).mean().backward()
        optimizer.step()
    for name, value in state.networks.trained["discriminator"].named_parameters():
        torch.testing.assert_close(value, reference.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_a_lazy_regulariser_steps_the_optimizer_of_its_main_phase():
    """Its moments are the main phase's: Adam sees both gradients of the same parameters."""

    class Regularised(FakeGAN):
        def phases(self, networks):
            make = super().phases(networks)[1]
            return [make, dataclasses.replace(make, name="lazy", steps_of="make", every=2)]

    state = begin(Regularised())
    assert set(state.optimizers) == {"make"}
    assert set(step(state)) == {"make", "lazy"}
    assert set(step(state, nimg=8)) == {"make"}
    counts = {float(slots["step"]) for slots in state.optimizers["make"].state.values()}
    assert counts == {3.0}
    assert not [name for name in state.tensors() if name.startswith("optimizers/lazy/")]


@pytest.mark.parametrize(
    ("nimg", "decay_kimg", "factor"), [(0, 0.016, 1.0), (24, 0.016, 0.5), (24, 0.032, 0.25)]
)
def test_the_rates_fall_before_the_end(nimg, decay_kimg, factor):
    """Adam's first step moves a weight by the learning rate, whatever its gradient."""
    config = dataclasses.replace(fake_config(), total_kimg=0.032, decay_kimg=decay_kimg)
    state = begin(FakeGAN())
    rates = {p.name: p.optimizer.learning_rate for p in state.phases}
    before = {n: p.detach().clone() for n, p in state.parameters.items()}
    step(state, config, nimg)
    farthest = max((p - before[n]).abs().max().item() for n, p in state.parameters.items())
    assert farthest == pytest.approx(factor * max(rates.values()), rel=1e-3)
    learning = [g["lr"] for o in state.optimizers.values() for g in o.param_groups]
    step(state, config, nimg)  # the factor is of the settings, not of the last step's rate
    assert learning == [g["lr"] for o in state.optimizers.values() for g in o.param_groups]
