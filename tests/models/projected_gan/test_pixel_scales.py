"""The discriminator on pixels: each scale is the image averaged; too many scales are refused."""

import pytest
import torch
import torch.nn.functional as F

from models.interfaces import Condition, ConditionShape
from models.projected_gan.pixel_scales import PixelDiscriminator


def small(resolution, num_scales):
    torch.manual_seed(0)
    net = PixelDiscriminator(
        resolution=resolution, num_scales=num_scales, width_max=4, shape=ConditionShape()
    )
    return net.eval()


def test_every_scale_is_judged_alone():
    net, x = small(32, 3), torch.rand(4, 3, 32, 32)
    logits = net({"pixels": x}, Condition())
    scales = [x, F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)]
    expected = [
        head(scale, Condition()).flatten(1) for head, scale in zip(net.heads, scales, strict=True)
    ]
    assert [part.shape[1] for part in expected] == [25, 25, 25]  # 8 px and a 4 x 4 window
    torch.testing.assert_close(logits, torch.cat(expected, dim=1))
    assert [len(head.blocks) for head in net.heads] == [2, 1, 0]


def test_pixels_of_the_published_ladder():
    with torch.device("meta"):
        net = PixelDiscriminator(resolution=64, shape=ConditionShape())
    widths = [block.conv.weight.shape[:2] for block in net.heads[0].blocks]
    assert widths == [(128, 3), (256, 128), (512, 256)]


def test_a_scale_below_the_last_window_is_refused():
    with pytest.raises(ValueError, match="4 scales of 16 px: the smallest has 2 px, at least 4"):
        small(16, 4)
