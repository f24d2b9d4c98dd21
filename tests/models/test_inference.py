"""The fast form of a generator draws what the plain one draws."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from models.inference import fast_form
from models.interfaces import Condition, ConditionShape
from models.stylegan_t.generator import StyleGANTGenerator


@pytest.fixture(scope="module")
def generator() -> StyleGANTGenerator:
    torch.manual_seed(0)
    made = StyleGANTGenerator(
        resolution=32,
        shape=ConditionShape(pooled_dim=6),
        z_dim=8,
        channel_base=1024,
        channel_max=32,
        num_groups=8,
    )
    for name, parameter in made.named_parameters():
        if name.endswith(("gamma", "noise_strength")):
            nn.init.constant_(parameter, 0.2)  # as after training: every layer counts
    return made.eval()


def _draw(generator: StyleGANTGenerator, n: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    pooled = nn.functional.normalize(torch.randn(n, 6, generator=rng), dim=1)
    condition = Condition(pooled_ND=pooled)
    ws = generator.map(torch.randn(n, 8, generator=rng), condition, 0.8)
    with torch.inference_mode():
        return generator.synthesize(ws, condition)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("n", [1, 3])
def test_the_fast_form_draws_the_same(generator, precision, tolerance, n) -> None:
    plain = _draw(generator, n)
    fast = fast_form(copy.deepcopy(generator), precision=precision)
    image = _draw(fast, n)
    assert image.dtype == torch.float32
    assert (image - plain).norm() <= tolerance * plain.norm()


def test_weights_are_cast_once_and_sums_stay_exact(generator) -> None:
    fast = fast_form(copy.deepcopy(generator), precision="bfloat16")
    plain, cast = (dict(g.named_parameters()) for g in (generator, fast))
    wide = [name for name, p in plain.items() if p.ndim == 4]
    assert wide
    assert all(cast[name].dtype == torch.bfloat16 for name in wide)
    assert not any(p.requires_grad for p in cast.values())
    for name in wide:
        energy = fast.get_submodule(name.removesuffix(".weight")).energy_OI
        torch.testing.assert_close(energy, plain[name].square().sum((2, 3)), rtol=1e-6, atol=0)
    assert fast.state_dict().keys() == generator.state_dict().keys(), "sums are no state"


def test_the_plain_form_keeps_no_sums(generator) -> None:
    fast_form(copy.deepcopy(generator))
    assert all(getattr(part, "energy_OI", None) is None for part in generator.modules())


@pytest.mark.fuzz  # a minute of compiling
@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_the_compiled_form_draws_the_same(generator, precision, tolerance) -> None:
    plain = _draw(generator)
    fast = fast_form(copy.deepcopy(generator), precision=precision, compiled=True)
    assert (_draw(fast) - plain).norm() <= tolerance * plain.norm()
