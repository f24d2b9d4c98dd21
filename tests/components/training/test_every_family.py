"""Every registered family through the real loop: resumes bit for bit, on every switch."""

import pytest
import torch
import torch.nn.functional as F

from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.loop import train
from components.training.store import StateStore
from models.families import recipes, small_fields
from models.interfaces import Batch, Condition, ConditionShape, Site, Start
from tests.models import conftest as model_fakes

SHAPE = ConditionShape(pooled_dim=model_fakes.TEXT_DIM)


class Stream:
    """Images and text embeddings drawn from the index of the sample."""

    def atom(self, position, size):
        rows = [torch.Generator().manual_seed(i) for i in range(position, position + size)]
        image = torch.stack([torch.rand(3, 16, 16, generator=r) * 2 - 1 for r in rows])
        text = torch.stack([torch.randn(SHAPE.pooled_dim, generator=r) for r in rows])
        condition = Condition(pooled_ND=F.normalize(text, dim=1))
        return Batch(size=size, image_NCHW=image, condition=condition)


def run(name, total_kimg=0.032, folder=None, **changes):
    recipe = recipes()[name](**small_fields(name))
    torch.manual_seed(7)
    encoders = {
        "dino": model_fakes.FakeVit(),
        "clip": model_fakes.FakeClip(),
        "classifier": model_fakes.FakeCnn(),
    }
    start = None
    if not recipe.needs_data:
        tensors = recipe.generator(16, SHAPE).state_dict()
        start = Start(card={"resolution_px": 16}, generator=tensors)
    site = Site(resolution=16, shape=SHAPE, encoder=encoders.__getitem__, start=start)
    values = {
        "resolution_px": 16,
        "total_kimg": total_kimg,
        "batch": 8,
        "micro_batch": 4,
        "ema_half_life_kimg": 0.01,
        "report_every_kimg": 0.008,
    }
    records = []
    result = train(
        recipe=recipe,
        networks=recipe.build(site),
        config=TrainConfig(**values | changes),
        seed=1,
        batches=Stream(),
        state_store=StateStore(folder=folder) if folder else None,
        world=World(),
        report=records.append,
        device="cpu",
    )
    modules = {**result.networks.trained, "ema": result.ema}
    tensors = {f"{m}.{n}": t for m, net in modules.items() for n, t in net.state_dict().items()}
    return tensors, [r for r in records if r["kind"] == "tick"]


def different(one, two):
    assert one.keys() == two.keys()
    return [name for name in one if not torch.equal(one[name], two[name])]


@pytest.mark.row("A3")
@pytest.mark.parametrize("name", recipes())
def test_resumes_bit_for_bit(name, tmp_path):
    whole, _ = run(name)
    run(name, 0.016, tmp_path)
    resumed, _ = run(name, 0.032, tmp_path)
    assert not different(whole, resumed)
    finished, _ = run(name, 0.032, tmp_path)  # nothing is left to do: what was saved is the result
    assert not different(whole, finished)
    assert all(tensor.isfinite().all() for tensor in whole.values())


@pytest.mark.parametrize("name", recipes())
def test_switches_change_speed_not_results(name):
    """Memory order and recomputed activations: the same losses; bf16: nearly, and fp32 weights."""
    _, plain = run(name, channels_last=False)
    _, recomputed = run(name, channels_last=True, checkpoint_activations=True)
    half_weights, half = run(name, precision="bf16")
    assert all(t.dtype != torch.bfloat16 for t in half_weights.values())
    for one, two, three in zip(plain, recomputed, half, strict=True):
        for key in (k for k in one if k.startswith("loss/")):
            assert two[key] == pytest.approx(one[key], rel=1e-3, abs=1e-4)
            assert three[key] == pytest.approx(one[key], rel=0.05, abs=0.06)
