"""The textbook form that benchmarks compare with is the same map, gradients included."""

from __future__ import annotations

import torch

from benchmarks.plain import plain_layers
from models.stylegan_t.generator import SynthesisNetwork


def network() -> SynthesisNetwork:
    torch.manual_seed(0)
    sizes = {"channel_base": 256, "channel_max": 16, "num_res_blocks": 1, "num_groups": 8}
    net = SynthesisNetwork(12, resolution=16, **sizes)
    for name, parameter in net.named_parameters():
        if "noise_strength" in name or "gamma" in name:  # they start near zero and would hide
            torch.nn.init.normal_(parameter)
    return net


def image_and_gradients(net: SynthesisNetwork) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    ws = torch.randn(3, net.num_ws, 12, generator=rng)
    image = net(ws)
    image.square().mean().backward()
    gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    return [image.detach(), *gradients]


def test_both_forms_give_the_same_image_and_gradients() -> None:
    net = network()
    ours = image_and_gradients(net)
    with plain_layers():
        textbook = image_and_gradients(net)
    assert len(ours) == len(textbook) > 10
    for a, b in zip(ours, textbook, strict=True):
        assert (a - b).abs().max() <= 1e-5 * max(1.0, float(b.abs().max()))


def test_the_textbook_form_is_gone_when_the_context_closes() -> None:
    before = SynthesisNetwork.forward, network().blocks["8"].layers[0].convolve.__func__
    with plain_layers():
        assert network().blocks["8"].layers[0].convolve.__func__ is not before[1]
    assert (SynthesisNetwork.forward, network().blocks["8"].layers[0].convolve.__func__) == before
