"""Text, class labels, nothing, and the text-encoder phase: each through the real loop, resumed."""

from dataclasses import replace

import pytest
import torch

from components.artifacts.artifact import (
    load_generator,
    load_start,
    read_card,
    weights_hash,
    write_artifact,
)
from components.errors import StorageError
from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.loop import train
from components.training.store import StateStore
from models.interfaces import Batch, Condition, ConditionShape, Site, Start
from models.stylegan_t.recipe import StyleGANT
from models.text_to_image import AlignedGenerator
from tests.models import conftest as fakes

SHAPES = {
    "text": ConditionShape(pooled_dim=fakes.TEXT_DIM),
    "label": ConditionShape(num_labels=3),
    "none": ConditionShape(),
}
WORDS = ("a", "b", "c", "d")
BASE = StyleGANT(
    channel_base=128,
    channel_max=16,
    num_res_blocks=1,
    z_dim=8,
    group_norm_groups=4,
    cmap_dim=8,
    head_kernel_size=3,
    guidance_crop_px=8,
    blur_init_sigma_px=1.0,
)


@pytest.fixture
def encoders():
    torch.manual_seed(7)
    return {"dino": fakes.FakeVit(), "clip": fakes.small_clip()}


class Stream:
    """Images and conditions drawn from the index of the sample."""

    def __init__(self, kind, clip):
        self.kind, self.clip = kind, clip

    def atom(self, position, size):
        numbers = range(position, position + size)
        rows = [torch.Generator().manual_seed(i) for i in numbers]
        image = torch.stack([torch.rand(3, 16, 16, generator=r) * 2 - 1 for r in rows])
        condition = Condition()
        if self.kind == "label":
            condition = Condition(label_N=torch.tensor([i % 3 for i in numbers]))
        if self.kind == "text":
            captions = [WORDS[i % 4] + " " + WORDS[i % 3] for i in numbers]
            ids = self.clip.tokenize(captions)
            condition = Condition(pooled_ND=self.clip.encode_text(captions), ids_NT=ids)
        return Batch(size=size, image_NCHW=image, condition=condition)


def run(kind, encoders, total_kimg, folder=None, recipe=None, start=None):
    recipe = recipe or (BASE if kind == "text" else replace(BASE, clip_weight=0.0, label_dim=4))
    torch.manual_seed(3)
    site = Site(resolution=16, shape=SHAPES[kind], encoder=encoders.__getitem__, start=start)
    config = TrainConfig(
        resolution_px=16,
        total_kimg=total_kimg,
        batch=8,
        micro_batch=4,
        ema_half_life_kimg=0.01,
    )
    return train(
        recipe=recipe,
        networks=recipe.build(site),
        config=config,
        seed=1,
        batches=Stream(kind, encoders["clip"]),
        state_store=StateStore(folder=folder) if folder else None,
        world=World(),
        report=lambda record: None,
        device="cpu",
    )


def tensors(result):
    modules = {**result.networks.trained, "ema": result.ema}
    return {f"{m}.{n}": t.clone() for m, net in modules.items() for n, t in
            net.state_dict().items()}  # fmt: skip


def assert_equal(one, two):
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.parametrize("kind", SHAPES)
def test_every_condition_trains_and_resumes_bit_for_bit(kind, encoders, tmp_path):
    fresh, whole = tensors(run(kind, encoders, 0.0)), tensors(run(kind, encoders, 0.032))
    assert any(not torch.equal(fresh[name], whole[name]) for name in whole)
    assert all(t.isfinite().all() for t in whole.values())
    run(kind, encoders, 0.016, tmp_path)
    resumed = run(kind, encoders, 0.032, tmp_path)
    assert resumed.resumed_from_nimg == 16
    assert_equal(whole, tensors(resumed))


@pytest.fixture
def artifact(encoders, tmp_path):
    """A folder that a base stage left, and a function that adds the text-encoder phase to it."""
    base = run("text", encoders, 0.016)
    write(tmp_path / "base", base, BASE)
    return tmp_path / "base"


def write(folder, result, recipe):
    model = result.ema
    own = isinstance(model, AlignedGenerator)
    networks = {**result.networks.frozen, **result.networks.trained}
    write_artifact(
        folder,
        recipe=recipe,
        resolution=16,
        shape=SHAPES["text"],
        generator_state=(model.generator if own else model).state_dict(),
        nimg=result.nimg,
        seed=1,
        discriminator_state=networks["discriminator"].state_dict(),
        text_encoder=model.text_encoder if own else None,
    )


PHASE = replace(BASE, trains="text_encoder", text_learning_rate=1e-3, text_clip_weight=8.0)


def test_the_text_encoder_phase_leaves_all_else_bit_equal_and_resumes(encoders, artifact, tmp_path):
    start = load_start(artifact)
    whole = run("text", encoders, 0.032, recipe=PHASE, start=start)
    for module in (whole.ema, whole.networks.trained["generator"]):
        for name, tensor in start.generator.items():
            assert torch.equal(module.generator.state_dict()[name], tensor), name
    for name, tensor in start.discriminator.items():
        assert torch.equal(whole.networks.frozen["discriminator"].state_dict()[name], tensor), name
    original = encoders["clip"].text_part().state_dict()
    trained = whole.networks.trained["generator"].text_encoder.state_dict()
    averaged = whole.ema.text_encoder.state_dict()
    moved = [name for name in original if not torch.equal(original[name], trained[name])]
    assert moved
    assert all(not torch.equal(averaged[name], trained[name]) for name in moved), "EMA lags"
    assert any(not torch.equal(averaged[name], original[name]) for name in moved)
    run("text", encoders, 0.016, tmp_path / "states", PHASE, start)
    resumed = run("text", encoders, 0.032, tmp_path / "states", PHASE, start)
    assert resumed.resumed_from_nimg == 16
    assert_equal(tensors(whole), tensors(resumed))


def test_its_artifact_keeps_the_text_encoder_and_grows(encoders, artifact, tmp_path):
    start = load_start(artifact)
    result = run("text", encoders, 0.032, recipe=PHASE, start=start)
    write(tmp_path / "aligned", result, PHASE)
    card = read_card(tmp_path / "aligned")
    assert card["files"]["generator.safetensors"] == start.card["files"]["generator.safetensors"]
    assert weights_hash(card) != weights_hash(start.card), "the same generator, another model"
    assert (
        card["files"]["discriminator.safetensors"]
        == start.card["files"]["discriminator.safetensors"]
    )
    model, _ = load_generator(tmp_path / "aligned")
    assert isinstance(model, AlignedGenerator)
    batch = Stream("text", encoders["clip"]).atom(0, 4)
    z = torch.randn(4, 8)
    with torch.no_grad():
        assert torch.equal(model.map(z, batch.condition), result.ema.map(z, batch.condition))
    again = load_start(tmp_path / "aligned")
    assert isinstance(again, Start) and again.text_encoder
    more = run("text", encoders, 0.016, recipe=BASE, start=again)
    for name, tensor in again.text_encoder.items():
        assert torch.equal(more.ema.text_encoder.network.state_dict()[name], tensor)


def test_a_changed_text_encoder_is_refused(encoders, artifact, tmp_path):
    result = run("text", encoders, 0.008, recipe=PHASE, start=load_start(artifact))
    write(tmp_path / "aligned", result, PHASE)
    path = tmp_path / "aligned" / "text_encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StorageError, match=r"text_encoder/model\.safetensors is not the file"):
        load_generator(tmp_path / "aligned")
