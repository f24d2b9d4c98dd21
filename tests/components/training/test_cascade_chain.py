"""GigaGAN's chain through the real loop: a base that reads words, then an upsampler on it.

Each resumes bit for bit, two ranks do what one does, and the base stays as it was.
"""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

from components.evaluation.bench import Bench
from components.evaluation.config import EvaluateConfig
from components.evaluation.enlarging import measure_enlarging
from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.loop import train
from components.training.store import StateStore
from models.gigagan.cascade import UpsamplerModel
from models.gigagan.losses import fake_pyramid, read_words
from models.gigagan.recipe import GigaGAN
from models.gigagan.small import SMALL
from models.interfaces import Batch, Condition, Site, Start
from tests.components.evaluation.conftest import measuring
from tests.components.training.fake_loop import weights
from tests.models.conftest import FakeCnn, FakeVit, small_clip
from tests.models.gigagan.test_networks import UP, WORDS

PROMPTS = ["a b", "a c", "b d", "c d d"]
BASE = GigaGAN(
    **{**SMALL, "attention_depths": (0, 1), "reuse_fakes": True, "clip_scale": 2.0, "words": "last"}
)
CASCADE = dataclasses.replace(BASE, **UP)
SIDES = {"base": 8, "cascade": 16}


def encoders():
    torch.manual_seed(7)
    nets = {"dino": FakeVit(), "clip": small_clip(), "classifier": FakeCnn()}
    for net in nets.values():
        net.requires_grad_(False)
    return nets


class Stream:
    """Images drawn from the index of the sample, and the ids of one of four captions."""

    def __init__(self, side, clip):
        self.side, self.ids = side, clip.tokenize(PROMPTS)
        with torch.no_grad():
            self.pooled = clip.encode_text(PROMPTS)

    def atom(self, position, size):
        rows = [torch.Generator().manual_seed(i) for i in range(position, position + size)]
        image = torch.stack([torch.rand(3, 16, 16, generator=r) * 2 - 1 for r in rows])
        at = torch.arange(position, position + size) % len(PROMPTS)
        condition = Condition(pooled_ND=self.pooled[at], ids_NT=self.ids[at])
        return Batch(
            size=size, image_NCHW=F.avg_pool2d(image, 16 // self.side), condition=condition
        )


def run(recipe, *, start=None, total_kimg=0.032, folder=None, world=None, nets=None):
    nets, records = nets or encoders(), []
    side = SIDES[recipe.parts]
    torch.manual_seed(8)
    site = Site(resolution=side, shape=WORDS, encoder=nets.__getitem__, start=start)
    result = train(
        recipe=recipe,
        networks=recipe.build(site),
        config=TrainConfig(
            resolution_px=side,
            total_kimg=total_kimg,
            batch=8,
            micro_batch=4,
            ema_half_life_kimg=0.01,
            report_every_kimg=0.008,
        ),
        seed=1,
        batches=Stream(side, nets["clip"]),
        state_store=StateStore(folder=folder) if folder else None,
        world=world or World(),
        report=records.append,
        device="cpu",
    )
    return result, [r for r in records if r["kind"] == "tick"]


@pytest.fixture(scope="module")
def base():
    return run(BASE)


@pytest.fixture(scope="module")
def start(base):
    fields = json.loads(json.dumps(dataclasses.asdict(BASE)))
    return Start(
        card={"resolution_px": 8, "recipe": {"name": "gigagan", "fields": fields}},
        generator=base[0].ema.state_dict(),
        discriminator=base[0].networks.trained["discriminator"].state_dict(),
    )


@pytest.mark.parametrize("recipe", [BASE, CASCADE], ids=["base", "cascade"])
def test_resumes_bit_for_bit(recipe, base, start, tmp_path):
    origin = start if recipe is CASCADE else None
    whole = weights(run(recipe, start=origin)[0] if origin else base[0])
    run(recipe, start=origin, total_kimg=0.016, folder=tmp_path)
    resumed = weights(run(recipe, start=origin, folder=tmp_path)[0])
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_the_upsampler_trains_and_the_base_stays(start):
    result, ticks = run(CASCADE, start=start)
    made = result.ema.state_dict()
    for name, tensor in start.generator.items():
        assert torch.equal(made[f"base.{name}"], tensor), name
    torch.manual_seed(8)
    fresh = CASCADE.generator(16, WORDS).upsampler.state_dict()
    still = [n for n, t in fresh.items() if torch.equal(made[f"upsampler.{n}"], t)]
    assert still == []
    losses = {key for key in ticks[0] if key.startswith("loss/generator")}
    assert {
        "loss/generator/adversarial",
        "loss/generator/clip",
        "loss/generator/perceptual",
    } <= losses
    z = torch.randn(2, result.ema.z_dim)
    shown = Stream(16, encoders()["clip"]).atom(0, 2).condition
    image = result.ema.synthesize(result.ema.map(z, shown), shown)
    assert image.shape == (2, 3, 16, 16)


def test_the_upsampler_trains_on_what_the_base_draws(start, monkeypatch):
    """All of its input is the base's, or a part of it; that part has no real image to be like."""
    seen = []
    enlarge = UpsamplerModel.pyramid
    monkeypatch.setattr(
        UpsamplerModel, "pyramid", lambda self, x, z, t: seen.append(x) or enlarge(self, x, z, t)
    )
    result, ticks = run(dataclasses.replace(CASCADE, up_base_share=1.0, up_noise=0.0), start=start)
    assert ticks[-1]["loss/generator/perceptual"] == 0
    model, nets = result.networks.trained["generator"], encoders()
    batch = Stream(16, nets["clip"]).atom(0, 32)
    shares = {}
    for share in (0.0, 0.5, 1.0):
        recipe = dataclasses.replace(CASCADE, up_base_share=share, up_noise=0.0)
        rng = torch.Generator().manual_seed(3)
        seen.clear()
        _, of_real_N = fake_pyramid(
            recipe, result.networks, batch, read_words(result.networks, batch.condition), rng
        )
        small = F.avg_pool2d(batch.image_NCHW, 2)
        same = torch.tensor([torch.equal(x, y) for x, y in zip(seen[0], small, strict=True)])
        assert torch.equal(same, of_real_N > 0)
        shares[share] = float(of_real_N.mean())
    assert shares[0.0] == 1 and shares[1.0] == 0 and 0 < shares[0.5] < 1
    assert not any(p.grad is not None for p in model.base.parameters())


def test_a_loaded_cascade_is_measured_with_its_words_and_beside_bicubic(start):
    """An artifact holds no frozen tower: the bench lends it its own."""
    nets = encoders()
    result, _ = run(CASCADE, start=start, total_kimg=0.008, nets=nets)
    loaded = CASCADE.generator(16, WORDS).eval()
    loaded.load_state_dict(result.ema.state_dict())
    source = Stream(16, nets["clip"])
    source.num_rows, source.content_hash, source.resolution, source.seed = 24, "c", 16, 0
    net = measuring(nets["clip"], "clip")
    config = EvaluateConfig(num_fake=24, batch=8)
    bench = Bench(source=source, config=config, net=net, clip=net, text_encoder=nets["clip"])
    with pytest.raises(ValueError, match="attends to words"):
        bench.sample(loaded, 8, aligned=False)
    bench.give_words(loaded)
    assert bench.sample(loaded, 8, aligned=False).feature_MD.shape == (8, WORDS.pooled_dim)
    scores = measure_enlarging(bench, loaded)["scores"]["upscaling"]
    assert set(scores) == {
        f"{k}{b}" for k in ("patches", "frechet", "drift") for b in ("", "_bicubic")
    }
    assert all(value >= 0 for value in scores.values())
