"""Counts, words, and what each judge of the discriminator sees."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.gigagan.aura import upsampler_fields
from models.gigagan.checkpoint import aurora_generator
from models.gigagan.decay import decays
from models.gigagan.losses import (
    mismatch,
    output_weights,
    r1_loss,
    real_pyramid,
    same_captions,
)
from models.gigagan.recipe import GigaGAN
from models.gigagan.small import SMALL
from models.gigagan.unet import Upsampler
from models.gigagan.vision_aided import taps_of
from models.interfaces import Batch, Condition, ConditionShape, Site, Start
from tests.models.conftest import FakeCnn, small_clip
from tests.models.features.small_nets import small_cnn
from tests.models.gigagan import published

PAPER = ConditionShape(pooled_dim=768, token_dim=768)
WORDS = ConditionShape(pooled_dim=12, token_dim=8)
UP = {"parts": "cascade", "base_px": 8, **published.UP}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_default_fields_are_as_large_as_the_published_model():
    with torch.device("meta"):
        generator = GigaGAN().generator(64, PAPER)
        discriminator = GigaGAN().discriminator(64, PAPER)
    assert count(generator) == pytest.approx(652.5e6, rel=0.03)
    assert count(discriminator) == pytest.approx(381.4e6, rel=0.03)
    # Equation 6: entered at size i of 0 to 4, left after level j of i + 1 to 5.
    wanted = [(i, j) for j in range(1, 6) for i in range(j)]
    assert discriminator.pairs == wanted and len(wanted) == 15


@pytest.mark.parametrize("parts", ["base", "upsampler"])
def test_attention_decays_more_than_all_else_and_every_weight_by_one_factor(parts):
    fields = {} if parts == "base" else {**UP, "parts": parts, "up_attention_depths": (0, 1)}
    recipe = GigaGAN(**SMALL | fields, weight_decay=1e-5, attention_weight_decay=0.01)
    net = recipe.generator(16, WORDS)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    found = {k: sorted(names[id(p)] for p in group) for k, group in decays(recipe, [net]).items()}
    assert set(found) == {1e-5, 0.01}
    assert sorted(found[1e-5] + found[0.01]) == sorted(names.values())
    assert not any(name.startswith("text.") for name in found[0.01])
    assert not any(
        ".to_q" in name or ".to_kv" in name for name in found[1e-5] if "text" not in name
    )
    none = dataclasses.replace(recipe, weight_decay=0.0, attention_weight_decay=0.0)
    assert decays(none, [net]) == {}


def test_the_conditional_part_of_each_output_has_as_many_layers_as_asked():
    for layers in (1, 3):
        judge = GigaGAN(**SMALL, judge_layers=layers).discriminator(16, WORDS)
        assert [len(head.asked) for head in judge.judges] == [layers] * 3


def reading(recipe, size=16, start=None):
    torch.manual_seed(0)
    clip, cnn = small_clip(), FakeCnn()
    clip.requires_grad_(False)
    encoders = {"clip": clip, "classifier": cnn}
    site = Site(resolution=size, shape=WORDS, encoder=encoders.__getitem__, start=start)
    return recipe.build(site), clip


def asked(clip, prompts):
    ids = clip.tokenize(prompts)
    return Condition(pooled_ND=clip.encode_text(prompts), ids_NT=ids)


def test_heads_on_a_cnn_see_two_maps_and_meet_the_text_at_the_pooled_vector():
    torch.manual_seed(0)
    cnn, clip = small_cnn().requires_grad_(False), small_clip()
    encoders = {"clip": clip, "classifier": cnn}
    site = Site(resolution=16, shape=WORDS, encoder=encoders.__getitem__)
    networks = GigaGAN(**SMALL | {"vision_encoder": "classifier"}).build(site)
    heads, image = networks.trained["vision_heads"], torch.rand(2, 3, 16, 16) * 2 - 1
    taps, seen = taps_of(cnn, image), cnn(image)
    wanted = [seen[name] for name in ("stage_1", "stage_2", "pooled")]
    assert all(torch.equal(x, y) for x, y in zip(taps, wanted, strict=True))
    one, two = (heads(taps, text) for text in torch.randn(2, 2, WORDS.pooled_dim))
    same = [torch.equal(x, y) for x, y in zip(one, two, strict=True)]
    assert same == [True, True, False]


def test_words_steer_the_image_only_where_it_attends_to_them():
    prompts = ["a b c", "c b a"]
    for attends in (True, False):
        recipe = GigaGAN(**SMALL | {"vision_weight": 0.0}, cross_attention=attends)
        networks, clip = reading(recipe)
        model = networks.trained["generator"]
        condition = asked(clip, prompts)
        ws = model.map(torch.ones(2, 8), condition)[:1].expand(2, -1, -1)  # the same w for both
        one, two = model.synthesize(ws, condition)
        assert torch.equal(one, two) != attends


def test_words_are_the_towers_and_come_from_the_cache_with_the_same_bits():
    networks, clip = reading(GigaGAN(**SMALL | {"vision_weight": 0.0, "words": "last"}))
    reader = networks.trained["generator"].reader
    ids = clip.tokenize(["a b", "d c b a"])
    both = reader.read(ids)
    ends = both[torch.arange(2), ids.argmax(dim=1)] @ clip.network.text_projection
    torch.testing.assert_close(ends, clip.network.encode_text(ids))
    assert torch.equal(reader.read(ids[1:]), both[1:])
    fresh = clip.word_reader("last")
    assert torch.equal(fresh.read(ids[1:]), both[1:])
    filled = reader(Condition(ids_NT=ids))
    assert filled.mask_NT.sum(dim=1).tolist() == (ids.argmax(dim=1) + 1).tolist()


def test_plain_judges_do_not_see_the_caption_and_the_others_do():
    networks, clip = reading(GigaGAN(**SMALL | {"vision_weight": 0.0}))
    judge = networks.trained["discriminator"]
    features = judge.features([torch.randn(2, 3, r, r) for r in (16, 8, 4)])
    texts = [
        judge.read(networks.trained["generator"].reader(asked(clip, p)))
        for p in (["a"] * 2, ["b"] * 2)
    ]
    found = [judge.judge(features, text) for text in texts]
    assert found[0].shape == (2, 6)
    assert (found[0] != found[1]).all()
    for head in judge.judges:
        head.asked = torch.nn.ModuleList()
    assert torch.equal(*(judge.judge(features, text) for text in texts))


def test_the_gradient_penalty_counts_every_size_and_can_be_descended():
    """R1: half its weight times the interval, of the squared slopes at all sizes together."""
    recipe = GigaGAN(**SMALL | {"vision_weight": 0.0, "diff_augment": ()}, r1_weight=4.0)
    networks, clip = reading(recipe)
    judge, condition = networks.trained["discriminator"], asked(clip, ["a b", "c"])
    batch = Batch(size=2, condition=condition, image_NCHW=torch.rand(2, 3, 16, 16) * 2 - 1)
    found = r1_loss(recipe, networks, batch, torch.Generator()).terms["r1"]
    assert not batch.image_NCHW.requires_grad
    images = [x.requires_grad_() for x in real_pyramid(judge, batch.image_NCHW)]
    words = judge.read(networks.trained["generator"].reader(condition))
    with sdpa_kernel(SDPBackend.MATH):
        logits = judge.judge(judge.features(images), words)
    weights = output_weights(recipe, judge, recipe.early_weight)
    slopes = torch.autograd.grad((logits @ weights).sum(), images)
    assert [x.shape[-1] for x in slopes] == [16, 8, 4]
    wanted = 4.0 / 2 * recipe.r1_every * sum(x.square().sum(dim=(1, 2, 3)) for x in slopes)
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    steered = [n for n, p in judge.named_parameters() if p.grad is not None and p.grad.any()]
    assert all(p.grad.isfinite().all() for p in judge.parameters() if p.grad is not None)
    assert any("to_qk" in name for name in steered)  # through attention, whose slope has a slope


def test_equal_captions_are_never_paired():
    ids = torch.tensor([[1], [1], [2], [1]])
    same = same_captions(Condition(ids_NT=ids))
    for seed in range(20):
        other, valid = mismatch(same, torch.Generator().manual_seed(seed))
        assert (ids[other] != ids).all()
        assert valid.tolist() == [1, 1, 1, 1]
    alone = same_captions(Condition(ids_NT=ids[:2]))
    assert mismatch(alone, torch.Generator())[1].tolist() == [0, 0]


def test_cascade_trains_its_upsampler_on_a_frozen_base():
    base = GigaGAN(**SMALL | {"vision_weight": 0.0})
    small, _ = reading(base, size=8)
    fields = {k: v for k, v in dataclasses.asdict(base).items() if k not in UP}
    start = Start(
        card={
            "resolution_px": 8,
            "recipe": {"name": "gigagan", "fields": {**fields, "parts": "base"}},
        },
        generator=small.trained["generator"].state_dict(),
    )
    recipe = GigaGAN(**SMALL | {"vision_weight": 0.0} | UP)
    networks, clip = reading(recipe, start=start)
    model = networks.trained["generator"]
    assert torch.equal(
        model.base.synthesis.layers[0].constant,
        small.trained["generator"].synthesis.layers[0].constant,
    )
    prompts = ["a b", "c d", "b", "d a"]
    batch = Batch(
        size=4, condition=asked(clip, prompts), image_NCHW=torch.rand(4, 3, 16, 16) * 2 - 1
    )
    phases = {phase.name: phase for phase in recipe.phases(networks)}
    trained = set(map(id, phases["generator"].parameters(0)))
    assert trained == set(map(id, model.upsampler.parameters()))
    losses = phases["generator"].loss(batch, 0, torch.Generator().manual_seed(0))
    assert set(losses.terms) == {"adversarial", "clip", "perceptual"}
    condition = batch.condition
    images = model.synthesize(model.map(torch.randn(4, model.z_dim), condition, 0.5), condition)
    assert images.shape == (4, 3, 16, 16)
    with pytest.raises(ValueError, match="base_px"):
        dataclasses.replace(recipe, base_px=4).build(
            Site(resolution=16, shape=WORDS, encoder={}.get)
        )


def test_published_checkpoints_have_the_published_sizes():
    aurora = {
        "resolution": 64,
        "z_dim": 128,
        "w_dim": 1024,
        "context_dim": 1024,
        "clip_out_dim": 768,
        "head_dim": 64,
        "num_heads": 8,
        "num_layers_text_enc": 4,
        "mapping_layers": 4,
        "fmaps_base": 16384,
        "fmaps_max": 1600,
        "num_adaptive_kernels": {4: 1, 8: 1, 16: 2, 32: 4, 64: 8},
        "num_block_per_res": {4: 3, 8: 3, 16: 3, 32: 2, 64: 2},
        "attn_resolutions": ["8", "16", "32", "64"],
        "attn_depth": {8: 2, 16: 2, 32: 2, 64: 1},
        "num_experts": {8: 4, 16: 8, 32: 16, 64: 16},
        "l2_attention": True,
        "tie": False,
        "mask_self": False,
        "scale_in": False,
        "attn_gain": 0.3,
        "residual_gain": 0.4,
        "fourier_feat": True,
        "mtm": True,
    }
    aura = {
        "style_network": {"dim_in": 128, "dim_out": 512, "depth": 4},
        "dim": 64,
        "skip_connect_scale": 0.4,
    }
    with torch.device("meta"):
        generator = aurora_generator(aurora)
        upsampler = Upsampler(**upsampler_fields(aura))
    assert count(generator) == 1_166_329_387
    assert generator.num_ws == 23
    unused = 10  # the file has a scale for each attention, which its code never reads
    assert count(upsampler) + unused == 617_554_917
