"""Train the fake family in this process, and look at what it left."""

import torch

from components.training.distributed import World
from components.training.loop import train
from components.training.store import StateStore
from tests.components.training.fake_recipes import FakeGAN, FakeSource, fake_config, fake_site


def run(
    recipe=None,
    config=None,
    *,
    seed=3,
    folder=None,
    site=None,
    batches=None,
    device="cpu",
    **options,
):
    """Train a fake; return (result, records)."""
    recipe = recipe or FakeGAN()
    config = config or fake_config()
    torch.manual_seed(seed)
    records = []
    store = None
    if folder is not None:
        store = StateStore(folder=folder / "states", say=records.append)
    result = train(
        recipe=recipe,
        networks=recipe.build(site or fake_site()),
        config=config,
        seed=seed,
        batches=batches or FakeSource(),
        state_store=store,
        world=World(),
        report=records.append,
        device=device,
        **options,
    )
    return result, records


def weights(result):
    """Return all tensors of a result by name."""
    modules = {**result.networks.trained, "ema": result.ema}
    return {f"{m}.{n}": t for m, module in modules.items() for n, t in module.state_dict().items()}


def assert_same(one, two):
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different


def ticks(records, prefix):
    return [
        {k: v for k, v in r.items() if k == "nimg" or k.startswith(prefix)}
        for r in records
        if r["kind"] == "tick"
    ]
