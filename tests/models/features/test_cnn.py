"""Stages of a CNN against timm's own features_only model."""

import timm
import torch
import torch.nn.functional as F

from models.features import CnnNet
from tests.models.features.small_nets import PREPROCESSING, small_cnn

IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def normalised(x):
    mean, std = torch.tensor(PREPROCESSING["mean"]), torch.tensor(PREPROCESSING["std"])
    return ((x + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def test_stages_equal_features_only():
    net = small_cnn()
    reference = timm.create_model("test_efficientnet", features_only=True).eval()
    reference.load_state_dict(net.network.state_dict(), strict=False)
    out = net(IMAGE)
    for index, wanted in enumerate(reference(normalised(IMAGE))[-4:]):
        torch.testing.assert_close(out[f"stage_{index}"], wanted)
    assert net.stage_channels == reference.feature_info.channels()[-4:]
    assert net.stage_strides == [4, 8, 16, 32]


def test_head_is_the_networks_own():
    net = small_cnn()
    out = net(IMAGE)
    torch.testing.assert_close(out["logits"], net.network(normalised(IMAGE)))
    torch.testing.assert_close(net.network.classifier(out["pooled"]), out["logits"])


def test_no_head_gives_no_logits():
    architecture = {"name": "test_resnet", "arguments": {"num_classes": 0}}
    out = CnnNet.build(architecture, **PREPROCESSING)(IMAGE)
    assert set(out) == {"stage_0", "stage_1", "stage_2", "stage_3", "pooled"}


def test_the_pyramid_enlarges_small_images_and_leaves_large_ones():
    """The other call resizes every image to the net's own 32 px; this one never shrinks."""
    net = small_cnn()
    small, large = IMAGE[..., :16, :16], torch.rand(1, 3, 96, 96)
    wanted = F.interpolate(small, (64, 64), mode="bilinear", align_corners=False)
    maps = net.network.forward_intermediates(normalised(wanted), intermediates_only=True)[-4:]
    for index, x in enumerate(maps):
        torch.testing.assert_close(net.pyramid(small, 64)[f"stage_{index}"], x)
    found = net.pyramid(large, 64)
    assert [x.shape[-1] for x in found.values()] == net.stage_sides(96) == [24, 12, 6, 3]
    maps = net.network.forward_intermediates(normalised(large), intermediates_only=True)[-4:]
    torch.testing.assert_close(found["stage_3"], maps[-1])
