"""The loop: what it computes, that it resumes bit for bit, and what it says."""

import dataclasses

import pytest
import torch

from components.errors import ConfigError, Interrupted
from components.training.distributed import World
from components.training.loop import crossed, train
from components.training.site import NoData
from components.training.state import TrainState
from components.training.store import StateStore
from models.interfaces import Losses, Start
from tests.components.training.fake_loop import assert_same, run, ticks, weights
from tests.components.training.fake_recipes import (
    FakeAdaptation,
    FakeGAN,
    FakeSource,
    fake_config,
    fake_site,
)


@pytest.mark.row("A22")
def test_same_seed_gives_the_same_weights_and_another_seed_others():
    first, _ = run()
    again, _ = run()
    other, _ = run(seed=4)
    assert_same(weights(first), weights(again))
    assert not torch.equal(
        weights(first)["generator.rgb.weight"], weights(other)["generator.rgb.weight"]
    )


@pytest.mark.row("A3")
@pytest.mark.parametrize("cut_kimg", [0.008, 0.024, 0.04])
def test_train_all_equals_train_part_and_resume(tmp_path, cut_kimg):
    whole, whole_records = run()
    run(config=fake_config(total_kimg=cut_kimg), folder=tmp_path)
    torch.manual_seed(99)  # a resumed process has another global generator
    resumed, records = run(folder=tmp_path, seed=3)
    assert resumed.resumed_from_nimg == round(cut_kimg * 1000)
    assert_same(weights(whole), weights(resumed))
    assert ticks(whole_records, "loss")[-1] == ticks(records, "loss")[-1]


@pytest.mark.row("A3")
def test_the_whole_saved_state_of_a_resumed_run_equals_that_of_a_straight_one(tmp_path):
    run(folder=tmp_path / "straight")
    run(config=fake_config(total_kimg=0.04), folder=tmp_path / "cut")
    run(folder=tmp_path / "cut")
    straight, cut = (
        StateStore(folder=tmp_path / name / "states").newest() for name in ("straight", "cut")
    )
    assert_same(straight.tensors, cut.tensors)
    assert straight.facts["nimg"] == cut.facts["nimg"] == 80
    assert any(name.startswith("optimizers/smooth/") for name in straight.tensors)


@pytest.mark.row("A3")
def test_every_mutable_field_of_the_state_is_saved_or_built_anew():
    # Saved by name in TrainState.tensors, or lists of parts of these.
    built = {"networks", "phases", "optimizers", "ema", "parameters", "statistics", "best_weights"}
    names = {f.name for f in dataclasses.fields(TrainState)}
    assert names == built | set(TrainState.FACTS)


@pytest.mark.row("A9")
def test_phases_run_when_due_on_the_samples_of_their_place_with_fresh_noise():
    recipe = FakeGAN()
    run(recipe, fake_config(total_kimg=0.032))
    calls = [(s["nimg"], s["phase"]) for s in recipe.seen]
    # 4 micro-batches each; "smooth" has no parameters before nimg 8 and runs on every second
    # iteration: 16.
    for nimg in (0, 8, 16, 24):
        assert calls.count((nimg, "judge")) == calls.count((nimg, "make")) == 4
    assert [c for c in calls if c[1] == "smooth"] == [(16, "smooth")] * 4
    judged = [key for s in recipe.seen if s["phase"] == "judge" for key in s["keys"]]
    assert judged == [f"key-{i}" for i in range(32)]
    draws = torch.stack([s["z"] for s in recipe.seen])
    assert len(torch.unique(draws.flatten(1), dim=0)) == len(draws)


def test_only_the_parameters_of_a_phase_move():
    torch.manual_seed(3)
    before = FakeGAN().build(fake_site()).trained["generator"].state_dict()
    result, _ = run()
    after = result.networks.trained["generator"].state_dict()
    assert torch.equal(before["label.weight"], after["label.weight"])  # in no phase
    assert torch.equal(before["unused"], after["unused"])  # in a phase, in no loss
    assert not torch.equal(before["conv.weight"], after["conv.weight"])


@pytest.mark.row("A8")
def test_loss_does_not_depend_on_how_the_batch_is_cut():
    class Steady(FakeGAN):
        """Draws nothing, so that only the reduction could differ."""

        def phases(self, networks):
            (phase, *_) = super().phases(networks)
            discriminator = networks.trained["discriminator"]

            def loss(batch, nimg, rng):
                return Losses(terms={"square": discriminator(batch.image_NCHW).square().mean(1)})

            return [dataclasses.replace(phase, loss=loss)]

    whole, whole_records = run(Steady(), fake_config(micro_batch=8))
    parts, parts_records = run(Steady(), fake_config(micro_batch=1))
    for one, two in zip(ticks(whole_records, "loss"), ticks(parts_records, "loss"), strict=True):
        assert one["loss/judge/square"] == pytest.approx(two["loss/judge/square"], rel=1e-5)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(tensor, weights(parts)[name], rtol=1e-4, atol=1e-6)


@pytest.mark.row("A20")
def test_ema_equals_the_closed_form_recursion():
    config = fake_config()
    history = []

    class Recorded(FakeGAN):
        def phases(self, networks):
            phases = super().phases(networks)
            generator = networks.trained["generator"]

            def begin(nimg):  # the first phase of the iteration sees the weights of the last one
                history.append({n: p.detach().double() for n, p in generator.named_parameters()})
                history[-1] = {n: p.clone() for n, p in history[-1].items()}

            return [dataclasses.replace(phases[0], begin=begin), *phases[1:]]

    result, _ = run(Recorded(), config)
    final = {
        n: p.detach().double() for n, p in result.networks.trained["generator"].named_parameters()
    }
    expected = history[0]
    for step, now in enumerate([*history[1:], final]):
        half_life = min(20.0, 0.05 * 8 * step)  # images; ramp on the images seen before the step
        beta = 0.5 ** (8 / half_life) if half_life else 0.0
        expected = {n: beta * expected[n] + (1 - beta) * now[n] for n in now}
    for name, value in result.ema.named_parameters():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-6, atol=1e-7)
    for name, value in result.ema.named_buffers():
        assert torch.equal(value, result.networks.trained["generator"].get_buffer(name))


def test_a_recipe_without_data_and_without_a_discriminator_trains():
    torch.manual_seed(0)
    start = FakeGAN().build(fake_site()).trained["generator"].state_dict()
    site = fake_site(start=Start(card={}, generator=start))
    result, records = run(
        FakeAdaptation(), fake_config(total_kimg=0.4), site=site, batches=NoData()
    )
    losses = [t["loss/adapt/colour"] for t in ticks(records, "loss")]
    assert result.nimg == 400
    assert losses[-1] < 0.5 * losses[0]


def test_a_goal_that_is_reached_needs_no_iteration(tmp_path):
    first, _ = run(folder=tmp_path)
    again, records = run(folder=tmp_path)
    assert records == []
    assert again.resumed_from_nimg == again.nimg == 80
    assert_same(weights(first), weights(again))


def test_stop_saves_and_the_same_call_goes_on(tmp_path):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 4

    with pytest.raises(Interrupted, match="continue from nimg 32") as caught:
        run(folder=tmp_path, stop=stop)
    assert caught.value.exit_code == 7
    whole, _ = run()
    resumed, _ = run(folder=tmp_path)
    assert resumed.resumed_from_nimg == 32
    assert_same(weights(whole), weights(resumed))


@pytest.mark.row("A8")
@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({"micro_batch": 3}, 1, "batch 8 is no multiple of micro_batch 3"),
        ({}, 3, "4 micro-batches .* cannot be shared by 3 workers"),
    ],
)
def test_what_does_not_divide_is_one_clear_line(changes, size, message):
    recipe = FakeGAN()
    with pytest.raises(ConfigError, match=message) as caught:
        train(
            recipe=recipe,
            networks=recipe.build(fake_site()),
            config=fake_config(**changes),
            seed=0,
            batches=FakeSource(),
            state_store=None,
            world=World(0, size),
            report=print,
            device="cpu",
        )
    assert "\n" not in str(caught.value)


def test_ticks_say_speed_memory_losses_and_signs():
    _, records = run(config=fake_config(report_every_kimg=0.016))
    assert [r["nimg"] for r in records if r["kind"] == "tick"] == [16, 32, 48, 64, 80]
    last = records[-2]
    assert last["kimg"] == 0.08 and last["eta_s"] == 0
    assert last["images_per_s"] > 0 and last["memory_gib"] > 0.01
    assert -1 <= last["stat/judge/real_sign"] <= 1
    assert {"loss/judge/hinge", "loss/make/adversarial", "gradient_norm/make"} <= last.keys()


def test_samples_are_drawn_from_the_average_and_change_nothing():
    drawn = []

    def sample(model, nimg):
        assert not model.training
        drawn.append(nimg)
        torch.rand(3)  # a careless sampler draws from the global generator

    plain, _ = run()
    sampled, _ = run(config=fake_config(sample_every_kimg=0.024), sample=sample)
    assert drawn == [8, 24, 48, 72, 80]
    assert_same(weights(plain), weights(sampled))


@pytest.mark.parametrize(
    ("before", "now", "every", "expected"),
    [(0, 8, 0.008, True), (8, 15, 0.008, False), (8, 24, 0.008, True), (0, 8, 0.0, False)],
)
def test_crossed(before, now, every, expected):
    assert crossed(before, now, every) is expected
