"""A chain of classes through the real loop: a guided stem with path lengths, then a head; each
resumes bit for bit, and the head leaves the stem as it was.
"""

import dataclasses
import json

import pytest
import torch

from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.loop import train
from components.training.store import StateStore
from models.interfaces import Batch, ClassTable, Condition, ConditionShape, Site, Start
from models.stylegan_xl.recipe import StyleGANXL
from tests.components.training.fake_loop import weights
from tests.models import conftest as fakes

CLASSES, WIDTH = 4, 6
STEM = StyleGANXL(
    stem_layers=4,
    channel_base=64,
    channel_max=8,
    margin_px=2,
    z_dim=8,
    w_dim=8,
    projection_width=8,
    discriminator_max=8,
    cmap_dim=8,
    feature_size_px=32,
    norm_batch=4,
    path_length_start_kimg=0.012,  # from the third of four iterations on
    path_length_every=1,
)
HEAD = dataclasses.replace(STEM, heads=((32, 4),))


class Stream:
    """Images and classes drawn from the index of the sample."""

    def __init__(self, resolution):
        self.resolution = resolution

    def atom(self, position, size):
        numbers = range(position, position + size)
        rows = [torch.Generator().manual_seed(i) for i in numbers]
        side = self.resolution
        image = torch.stack([torch.rand(3, side, side, generator=r) * 2 - 1 for r in rows])
        label_N = torch.tensor([i % CLASSES for i in numbers])
        return Batch(size=size, image_NCHW=image, condition=Condition(label_N=label_N))


def classes(role):
    feature_KE = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(3))
    return ClassTable(feature_KE=feature_KE, logit_K=torch.arange(CLASSES))


def site_of(recipe, start=None):
    torch.manual_seed(7)
    encoders = {"dino": fakes.FakeVit(), "classifier": fakes.FakeCnn()}
    return Site(
        resolution=recipe.heads[-1][0] if recipe.heads else 16,
        shape=ConditionShape(num_labels=CLASSES, class_dim=WIDTH),
        encoder=encoders.__getitem__,
        start=start,
        classes=classes,
    )


def run(recipe, total_kimg=0.032, folder=None, start=None):
    site = site_of(recipe, start)
    records = []
    result = train(
        recipe=recipe,
        networks=recipe.build(site),
        config=TrainConfig(
            resolution_px=site.resolution,
            total_kimg=total_kimg,
            batch=8,
            micro_batch=8,
            ema_half_life_kimg=0.01,
            report_every_kimg=0.008,
        ),
        seed=1,
        batches=Stream(site.resolution),
        state_store=StateStore(folder=folder) if folder else None,
        world=World(),
        report=records.append,
        device="cpu",
    )
    return result, [r for r in records if r["kind"] == "tick"]


def loss_of(tick, name):
    found = [v for k, v in tick.items() if k.startswith("loss/") and k.endswith(f"/{name}")]
    return sum(found)


@pytest.fixture(scope="module")
def stem():
    return run(STEM)


@pytest.fixture(scope="module")
def start(stem):
    fields = json.loads(json.dumps(dataclasses.asdict(STEM)))
    return Start(
        card={"resolution_px": 16, "recipe": {"name": STEM.name, "fields": fields}},
        generator=stem[0].ema.state_dict(),
        discriminator=stem[0].networks.trained["discriminator"].state_dict(),
    )


def test_the_stem_is_guided_and_its_path_length_begins_when_told(stem):
    _, ticks = stem
    assert all(loss_of(tick, "guidance") > 0 for tick in ticks)
    began = [loss_of(tick, "path_length") > 0 for tick in ticks]
    assert began == [False, False, True, True]


def test_each_class_has_a_mean_of_its_own_and_the_table_stays(stem):
    generator = stem[0].networks.trained["generator"]
    means = generator.mapping.mean.value
    assert torch.pdist(means).min() > 0
    assert torch.equal(generator.embedding, classes("").feature_KE)


@pytest.mark.parametrize("grown", [False, True], ids=["stem", "head"])
def test_resumes_bit_for_bit(grown, stem, start, tmp_path):
    recipe, origin = (HEAD, start) if grown else (STEM, None)
    whole = weights(run(HEAD, start=start)[0] if grown else stem[0])
    run(recipe, 0.016, tmp_path, origin)
    resumed = weights(run(recipe, 0.032, tmp_path, origin)[0])
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert all(tensor.isfinite().all() for tensor in whole.values())


def test_the_head_trains_and_the_averaged_stem_is_the_old_one_to_the_bit(start):
    result, ticks = run(HEAD, 0.016, start=start)
    assert not any(loss_of(tick, "path_length") for tick in ticks)
    fresh = HEAD.build(site_of(HEAD, start)).trained["generator"].state_dict()
    for generator in (result.ema, result.networks.trained["generator"]):
        after = generator.state_dict()
        for name, tensor in after.items():
            if not generator.in_head(name):
                assert torch.equal(tensor, start.generator[name]), name
            elif name.endswith(("weight", "bias")):
                assert not torch.equal(tensor, fresh[name]), name
