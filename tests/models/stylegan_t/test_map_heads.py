"""Heads on the maps of a second frozen network."""

import pytest
import torch

from models.stylegan_t.recipe import StyleGANT
from tests.models.stylegan_t.test_pixel_head import heads, seen, text

MAPS = {"stage_1": 6, "stage_2": 12}


def seen_maps(n):
    return {"stage_1": torch.randn(n, 6, 9), "stage_2": torch.randn(n, 12, 9)}


def test_maps_together_have_as_much_say_as_all_tokens():
    """20 tokens; two maps of 9 places each have one turn, a single one would have two."""
    net, both = heads(map_channels=MAPS), seen(4) | seen_maps(4)
    assert net(both, text(4)).shape == (4, 20 + 9 + 9)
    alone = heads(map_channels={"stage_1": 6})
    assert alone(both, text(4)).shape == (4, 20 + 2 * 9)


def test_each_map_has_its_own_head_beside_those_of_the_tokens():
    net, both, asked = heads(map_channels=MAPS), seen(4) | seen_maps(4), text(4)
    logits = net(both, asked)
    tokens = heads()
    kept = {k: v for k, v in net.state_dict().items() if "map_heads" not in k}
    tokens.load_state_dict(kept)
    torch.testing.assert_close(logits[:, :20], tokens(both, asked))
    one = net.map_heads["stage_2"](both["stage_2"], asked.pooled_ND)
    torch.testing.assert_close(logits[:, 29:], one)


def test_real_and_fake_keep_their_own_statistics():
    net, asked = heads(map_channels=MAPS), text(4)
    real, fake = seen(4) | seen_maps(4), seen(4) | seen_maps(4)
    both = {name: torch.cat([real[name], 5 * fake[name]]) for name in real}
    parted = net(both, asked, parts=2)
    torch.testing.assert_close(parted[:4], net(real, asked))


@pytest.mark.parametrize("stages", [(), ("stage_1",)])
def test_the_classifier_is_a_role_only_where_it_is_read(stages):
    assert ("classifier" in StyleGANT(cnn_heads=stages).encoder_roles) is bool(stages)
