"""The networks under the loop's switches: compiled, and on a GPU."""

import pytest
import torch
from torch.nn import functional as F

from models.interfaces import Condition, ConditionShape
from models.stylegan_t.discriminator import StyleGANTDiscriminator
from models.stylegan_t.recipe import StyleGANT

SHAPE = ConditionShape(pooled_dim=6)


def networks():
    torch.manual_seed(0)
    recipe = StyleGANT(channel_base=128, channel_max=16, num_res_blocks=1, group_norm_groups=4)
    heads = StyleGANTDiscriminator(num_taps=2, tap_dim=16, shape=SHAPE)
    return recipe.generator(16, SHAPE), heads


def inputs(generator, device="cpu"):
    condition = Condition(pooled_ND=F.normalize(torch.randn(8, 6), dim=1)).to(device)
    ws = generator.map(torch.randn(8, 64).to(device), condition)
    noise = generator.draw_noise(8, torch.Generator(device).manual_seed(0))
    taps = {f"tap_{i}": torch.randn(8, 16, 16).to(device) for i in range(2)}
    return condition, ws, noise, taps


@pytest.mark.slow
def test_networks_trace_as_one_graph():
    generator, heads = networks()
    condition, ws, noise, taps = inputs(generator)
    synthesize = torch.compile(generator.synthesize, backend="eager", fullgraph=True)
    judge = torch.compile(heads.forward, backend="eager", fullgraph=True)
    for given in ("const", "none", noise):
        plain = generator.synthesize(ws, condition, given)
        torch.testing.assert_close(synthesize(ws, condition, given), plain)
    torch.testing.assert_close(judge(taps, condition), heads(taps, condition))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gpu_agrees_with_cpu(precision):
    generator, heads = networks()
    condition, ws, _, taps = inputs(generator)
    expected = (generator.synthesize(ws, condition), heads(taps, condition))
    generator.cuda().to(memory_format=torch.channels_last)
    heads.cuda()
    condition, taps = condition.to("cuda"), {k: v.cuda() for k, v in taps.items()}
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == torch.bfloat16):
        found = (generator.synthesize(ws.cuda(), condition), heads(taps, condition))
    tolerance = 1e-4 if precision == torch.float32 else 0.05
    for a, b in zip(found, expected, strict=True):
        assert (a.cpu() - b).std() < tolerance * b.std()
