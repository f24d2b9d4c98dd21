"""StyleGAN-XL's discriminator: reassembled tokens, two networks, published sizes."""

import pytest
import timm
import torch
from torch.nn import functional as F

from models.features import VitNet
from models.interfaces import Condition, ConditionShape
from models.projected_gan.discriminator import ProjectedDiscriminator
from models.stylegan_xl.discriminator import StyleGANXLDiscriminator
from models.stylegan_xl.token_reassembly import TokenReassembly

LITE0 = [24, 40, 112, 320]  # tf_efficientnet_lite0


def published(shape, embedding=None):
    reassembly = TokenReassembly(768, 14)
    sizes = {"shape": shape, "label_dim": 320}
    projected = {
        "dino": ProjectedDiscriminator(
            channels=reassembly.out_channels, sides=reassembly.out_sides, **sizes
        ),
        "classifier": ProjectedDiscriminator(channels=LITE0, sides=[56, 28, 14, 7], **sizes),
    }
    return StyleGANXLDiscriminator(projected, {"dino": reassembly}, embedding)


def count(tensors):
    return sum(t.numel() for t in tensors)


def test_has_the_published_number_of_weights():
    """Spec 2.5; the class embeddings stand here once, frozen, and not eight times, trained."""
    with torch.device("meta"):
        plain = published(ConditionShape())
        conditional = published(ConditionShape(pooled_dim=320), torch.zeros(1000, 320))
    assert count(plain.parameters()) == 20_662_656
    heads = [2_829_120, 2_763_392, 2_631_936, 2_106_880]
    for name in ("dino", "classifier"):
        assert [count(h.parameters()) for h in plain.projected[name].heads] == heads
    frozen = {
        name: count(b for k, b in p.projection.named_buffers())
        for name, p in plain.projected.items()
    }
    assert count(plain.reassembly["dino"].buffers()) == 94_049_936 - 87_338_192
    assert sum(frozen.values()) == 699_840 + 376_768 and frozen["classifier"] == 376_768
    assert count(conditional.parameters()) == 27_515_776 - 8 * 320_000
    conditional_heads = [3_685_760, 3_620_032, 3_488_576, 2_963_520]
    found = [count(h.parameters()) + 320_000 for h in conditional.projected["dino"].heads]
    assert found == conditional_heads
    assert count([conditional.embedding_KE]) == 320_000


def test_the_published_transformers_have_the_published_number_of_weights():
    """Spec 2.5: DeiT-B behind the discriminator, DeiT-small as the guide, both distilled."""
    for name, expected in (("base", 87_338_192), ("small", 22_436_432)):
        with torch.device("meta"):
            net = timm.create_model(f"deit_{name}_distilled_patch16_224", pretrained=False)
        assert count(net.parameters()) == expected


def test_reassembly_equals_its_formula_in_float64():
    torch.manual_seed(0)
    net = TokenReassembly(16, 4, seed=5)
    taps = {f"tap_{i}": torch.randn(2, 16, 4, 4) for i in range(4)}
    maps = net(taps)
    assert [tuple(x.shape[1:]) for x in maps.values()] == [
        (2, 16, 16),
        (4, 8, 8),
        (8, 4, 4),
        (16, 2, 2),
    ]
    assert net.out_channels == [2, 4, 8, 16] and net.out_sides == [16, 8, 4, 2]
    for i, factor in ((0, 4), (1, 2)):
        narrow, up = net.narrow[i], net.resize[i]
        x = torch.einsum(
            "oi,nihw->nohw", narrow.weight[:, :, 0, 0].double(), taps[f"tap_{i}"].double()
        )
        x = x + narrow.bias.double()[:, None, None]
        # A pixel becomes a block of its own: y[f h + a, f w + b] = sum_i x[i, h, w] W[i, o, a, b].
        y = torch.einsum("nihw,ioab->nohawb", x, up.weight.double()).flatten(4).flatten(2, 3)
        expected = y + up.bias.double()[:, None, None]
        torch.testing.assert_close(maps[f"stage_{i}"].double(), expected, atol=1e-5, rtol=1e-5)
        assert up.factor == factor
    last = F.conv2d(
        F.conv2d(
            taps["tap_3"].double(), net.narrow[3].weight.double(), net.narrow[3].bias.double()
        ),
        net.resize[3].weight.double(),
        net.resize[3].bias.double(),
        stride=2,
        padding=1,
    )
    torch.testing.assert_close(maps["stage_3"].double(), last, atol=1e-5, rtol=1e-5)


def test_random_weights_are_frozen_seeded_and_saved():
    one, two, other = (TokenReassembly(16, 4, seed=seed) for seed in (1, 1, 2))
    assert not list(one.parameters())
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), two.buffers(), strict=True))
    assert not torch.equal(one.narrow[0].weight, other.narrow[0].weight)
    assert set(one.state_dict()) == {k for k, _ in one.named_buffers()}
    bound = (2 * 16) ** -0.5  # torch's default of ConvTranspose2d(2, 2, 4)
    assert bound * 0.8 < one.resize[0].weight.abs().max() <= bound


@pytest.mark.parametrize(("channels", "side"), [(12, 4), (16, 7)])
def test_a_transformer_that_does_not_divide_is_refused(channels, side):
    with pytest.raises(ValueError, match="a multiple of 8 and an even number"):
        TokenReassembly(channels, side)


def test_patch_maps_drop_the_prefix_and_keep_the_grid():
    """A patch's feature stands at the patch's place, and the CLS token is added to none."""
    torch.manual_seed(0)
    arguments = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 4, "num_heads": 2}
    architecture = {"name": None, "arguments": {**arguments, "num_classes": 0}, "hooks": None}
    net = VitNet.build(architecture, image_size_px=16, mean=[0.5] * 3, std=[0.5] * 3)
    assert net.map_side == 4
    for block in net.network.blocks:  # attention off: every token keeps to itself
        block.attn.proj.weight.data.zero_()
        block.attn.proj.bias.data.zero_()
    image = torch.zeros(1, 3, 16, 16)
    spot = image.clone()
    spot[..., 4:8, 12:16] = 1.0  # row 1, column 3
    before = net.patch_maps(image)
    different = (net.patch_maps(spot)["tap_3"] - before["tap_3"]).abs().sum(dim=1)[0]
    assert different.nonzero().tolist() == [[1, 3]]
    with torch.no_grad():
        net.network.cls_token += 1.0
    assert torch.equal(net.patch_maps(image)["tap_3"], before["tap_3"])
    large = F.interpolate(spot, scale_factor=2, mode="nearest")
    assert net.patch_maps(large)["tap_0"].shape == (1, 16, 4, 4)


def test_every_network_speaks_and_the_class_matters():
    torch.manual_seed(0)
    net = small()
    maps = {
        "dino": {f"tap_{i}": torch.randn(4, 16, 4, 4) for i in range(4)},
        "classifier": {f"stage_{i}": torch.randn(4, 4, 16 >> i, 16 >> i) for i in range(4)},
    }
    one = net(maps, Condition(label_N=torch.tensor([0, 1])), parts=2)
    two = net(maps, Condition(label_N=torch.tensor([0, 2])), parts=2)
    assert {name: x.shape[0] for name, x in one.items()} == {"dino": 4, "classifier": 4}
    for name in one:
        same = torch.isclose(one[name], two[name]).all(dim=1).tolist()
        assert same == [True, False, True, False]
    with pytest.raises(ValueError, match="wants a class index below 3"):
        net(maps, Condition())


def small():
    reassembly = TokenReassembly(16, 4)
    sizes = {
        "shape": ConditionShape(pooled_dim=5),
        "width": 8,
        "width_max": 8,
        "cmap_dim": 4,
        "virtual_batch": 2,
    }
    projected = {
        "dino": ProjectedDiscriminator(
            channels=reassembly.out_channels, sides=reassembly.out_sides, **sizes
        ),
        "classifier": ProjectedDiscriminator(channels=[4] * 4, sides=[16, 8, 4, 2], **sizes),
    }
    return StyleGANXLDiscriminator(projected, {"dino": reassembly}, torch.randn(3, 5))
