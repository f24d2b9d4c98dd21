import pytest
import torch

from models.interfaces import Condition, ConditionShape
from models.layers.style_mapping import fit_centroids, nearest_centroid
from models.stylegan_xl.generator import StyleGANXLGenerator
from models.stylegan_xl.stylegan3 import StyleGAN3Generator

ROTATION = {"channel_base": 131072, "channel_max": 2048, "kernel": 1, "radial": True}
CHAIN = ((32, 7), (64, 7), (128, 7), (256, 7), (512, 7), (1024, 5))
# Published: (stages grown, -t total, -t head, -r total, -r head, layers). 1000 classes.
COUNTS = [
    (0, 101_883_463, None, 58_392_135, None, 11),
    (1, 151_701_063, 70_273_027, 84_627_015, 37_785_603, 16),
    (2, 201_518_663, 70_273_027, 110_861_895, 37_785_603, 21),
    (3, 225_850_243, 44_787_007, 124_246_511, 24_935_339, 26),
    (4, 233_375_910, 13_531_527, 128_953_587, 8_683_465, 31),
    (5, 235_471_137, 3_805_358, 130_568_542, 3_029_199, 36),
    (6, 235_799_929, 861_299, 130_893_544, 888_253, 39),
]
DEAD_TABLE = 320_000  # which the published unconditional networks carry along, and ours do not
TINY = {"channel_base": 256, "channel_max": 8, "stem_layers": 5, "z_dim": 6, "w_dim": 10}
TINY |= {"embed_dim": 7, "num_mapping_layers": 2}


def count(parameters):
    return sum(p.numel() for p in parameters)


@pytest.mark.parametrize("row", COUNTS, ids=lambda row: f"{row[0]} heads")
def test_parameter_and_layer_counts_are_the_published_ones(row):
    stages, *expected, layers = row
    found = []
    with torch.device("meta"):
        for config in ({}, ROTATION):
            shape = ConditionShape(num_labels=1000)
            net = StyleGANXLGenerator(shape=shape, heads=CHAIN[:stages], **config)
            net.stem_frozen = stages > 0
            found += [count(net.parameters()), count(net.trainable()) if stages else None]
            assert len(net.synthesis.layers) == layers
            assert net.num_ws == layers + 1
    assert found == expected


def test_parameter_counts_without_classes_and_of_the_small_configuration():
    small = {"channel_base": 32768, "channel_max": 512, "stem_layers": 7}
    cases = [
        ({}, 101_830_151),
        (small, 19_501_575),
        (small | {"stem_resolution": 64}, 19_501_575),
        (small | {"heads": ((32, 4),)}, 24_746_503),
        (small | {"stem_resolution": 64, "heads": ((256, 4),)}, 19_277_611),
        ({"stem_resolution": 64, "stem_layers": 14}, 141_684_231),
        ({"stem_resolution": 256, "stem_layers": 14}, 106_049_411),
    ]
    with torch.device("meta"):
        for config, expected in cases:
            net = StyleGANXLGenerator(shape=ConditionShape(), **config)
            assert count(net.parameters()) == expected - DEAD_TABLE, config


def tiny(heads=(), seed=0, shape=None, **changes):
    torch.manual_seed(seed)
    shape = shape or ConditionShape(num_labels=3)
    net = StyleGANXLGenerator(shape=shape, heads=heads, **(TINY | changes))
    torch.nn.init.normal_(net.mapping.mean.value)
    return net


LABELS = Condition(label_N=torch.tensor([0, 2, 2, 1]))


@pytest.mark.parametrize("chain", [((32, 4),), ((64, 3),), ((32, 4), (128, 3))])
def test_growth_keeps_the_stem_to_the_bit_and_trains_the_head_alone(chain):
    old, net = tiny(chain[:-1]).eval(), tiny(chain, seed=1)
    net.grow_from(old.state_dict())
    assert net.resolution == chain[-1][0]
    kept = {n: t.clone() for n, t in net.state_dict().items() if not net.in_head(n)}
    assert all(torch.equal(old.state_dict()[n], t) for n, t in kept.items())
    ws, z = torch.randn(1, net.num_ws, 10), torch.randn(4, 6)
    features = [n.synthesis.input(ws[:, 0]) for n in (old, net)]
    for k in range(net.num_stem_layers):
        pair = zip((old, net), features, strict=True)
        features = [n.synthesis.layers[k](x, ws[:, k + 1]) for n, x in pair]
    assert torch.equal(*features)  # what the head sees is what the old network made

    optimizer = torch.optim.SGD(net.trainable(), lr=0.1)
    net.train()(z, LABELS).square().mean().backward()
    optimizer.step()
    net.mapping.mean.commit(lambda total: total)
    now = net.state_dict()
    assert all(torch.equal(now[n], t) for n, t in kept.items())
    assert {id(p) for p in net.trainable()} == {
        id(p) for n, p in net.named_parameters() if net.in_head(n)
    }
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.trainable())


def test_growth_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="heads is empty"):
        tiny().grow_from(tiny().state_dict())
    with pytest.raises(ValueError, match="does not fit the stem"):
        tiny(((32, 4),), channel_max=4).grow_from(tiny().state_dict())


def test_truncation_by_class_by_entry_and_by_sample():
    net, z = tiny().eval(), torch.randn(4, 6)
    full = net.map(z, LABELS)
    assert full.shape == (4, net.num_ws, 10)
    means = net.mapping.mean.value[LABELS.label_N]
    torch.testing.assert_close(net.map(z, LABELS, 0.0)[:, 3], means)
    half = net.map(z, LABELS, 0.5)
    torch.testing.assert_close(half[:, 0], (full[:, 0] + means) / 2)
    leading = net.map(z, LABELS, 0.5, cutoff=2)
    assert torch.equal(leading[:, :2], half[:, :2])
    assert torch.equal(leading[:, 2:], full[:, 2:])
    each = net.map(z, LABELS, torch.tensor([1.0, 0.0, 0.5, 1.0]))
    torch.testing.assert_close(each[1, 0], means[1])
    torch.testing.assert_close(each[2], half[2])
    torch.testing.assert_close(each[3], full[3])


def test_multi_modal_truncation_draws_to_the_nearest_centroid():
    net, z = tiny().eval(), torch.randn(4, 6)
    full = net.map(z, LABELS)[:, 0].detach()
    centroids = torch.cat([full[:2] + 0.01, full[:2] + 100])
    drawn = net.map(z, LABELS, 0.0, centroids_MD=centroids)[:, 0]
    torch.testing.assert_close(drawn[:2], centroids[:2])
    assert torch.equal(drawn, nearest_centroid(full, centroids))


def test_centroids_find_separate_clusters():
    rng = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    samples = middles.repeat(30, 1) + 0.1 * torch.randn(90, 2, generator=rng)
    found = min(
        (fit_centroids(samples, 3, rng) for _ in range(8)),
        key=lambda c: torch.cdist(samples, c).amin(dim=1).sum(),
    )
    assert torch.cdist(middles, found).amin(dim=1).max() < 0.1
    with pytest.raises(ValueError, match="91 centroids need as many samples, got 90"):
        fit_centroids(samples, 91, rng)


def test_class_embeddings_are_given_and_frozen_unless_asked_for():
    net, table = tiny(), torch.randn(3, 7)
    net.set_embedding(table)
    assert torch.equal(net.embedding, table)
    assert all(p is not net.embedding for p in net.trainable())
    free = tiny(train_embedding=True)
    assert any(p is free.embedding for p in free.trainable())
    with pytest.raises(ValueError, match=r"\[3, 8\] do not fit the generator's \[3, 7\]"):
        net.set_embedding(torch.randn(3, 8))
    z = torch.randn(1, 6).expand(4, -1)
    images = net.eval()(z, LABELS)
    torch.testing.assert_close(images[1], images[2])
    assert (images[0] - images[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["xl", "3"])
def test_text_conditions_where_there_are_no_classes_and_nothing_may(family):
    z = torch.randn(2, 6)
    sizes = {"z_dim": 6, "w_dim": 10, "channel_base": 256, "channel_max": 8}

    def make(shape):
        if family == "3":
            return StyleGAN3Generator(resolution=16, shape=shape, num_layers=4, **sizes).eval()
        return tiny(shape=shape).eval()

    plain, net = make(ConditionShape()), make(ConditionShape(pooled_dim=4))
    assert plain(z, Condition()).shape == (2, 3, 16, 16)
    assert plain.draw_noise(2, torch.Generator()) == []
    ws = [net.map(z, Condition(pooled_ND=torch.full((2, 4), x))) for x in (0.5, -0.5)]
    assert (ws[0] - ws[1]).abs().max() > 1e-2
    with pytest.raises(ValueError, match="wants a text embedding"):
        net.map(z, Condition())
    with pytest.raises(ValueError, match="class index below 3"):
        tiny().map(z, Condition())
