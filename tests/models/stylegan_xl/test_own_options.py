"""What is ours in StyleGAN-XL: a head that sees the picture, fakes judged twice, an input that w
shifts from the start.
"""

import pytest
import torch

from models.interfaces import Condition
from models.stylegan_t.discriminator import PIXELS
from models.stylegan_xl.recipe import StyleGANXL
from tests.models.stylegan_xl.test_recipe import SMALL, N, batch_of, judged_by_hand, site_of, step


def test_a_head_that_sees_the_picture_has_as_much_say_as_each_network(encoder):
    fields = {"diff_augment": (), "guidance_weight": 0.0, "blur_init_sigma_px": 0.0}
    recipe = StyleGANXL(**SMALL, **fields, pixel_head=4)
    networks, batch = recipe.build(site_of(encoder)), batch_of()
    phases = recipe.phases(networks)
    stated = phases[-1].loss(batch, 0, torch.Generator().manual_seed(0)).terms["adversarial"]
    discriminator = networks.trained["discriminator"]
    logits = judged_by_hand(encoder, networks, batch)
    assert logits[PIXELS].shape == (2 * N, 1)
    pairs = [x.chunk(2) for x in logits.values()]
    hinges = [(1 - r).clamp(min=0).mean(1) + (1 + f).clamp(min=0).mean(1) for r, f in pairs]
    torch.testing.assert_close(stated.detach(), torch.stack(hinges).mean(0))
    before = {name: p.clone() for name, p in discriminator.pixel_head.named_parameters()}
    step(recipe, networks, batch)
    after = dict(discriminator.pixel_head.named_parameters())
    # Real and generated images pull the last bias in opposite ways, by the same amount.
    assert {k for k in after if torch.equal(after[k], before[k])} <= {"judge.bias"}


def test_with_reuse_fakes_the_discriminator_judges_the_images_that_the_generator_drew(encoder):
    found = {}
    for reuse in (False, True):
        recipe = StyleGANXL(**SMALL, diff_augment=(), guidance_weight=0.0, reuse_fakes=reuse)
        networks = recipe.build(site_of(encoder))
        first, *_, last = recipe.phases(networks)
        for number in range(2):
            first.loss(batch_of(), 0, torch.Generator().manual_seed(number))
        # Fresh fakes of the generator's own seeds are the ones that it learnt by.
        seeds = (5, 5) if reuse else (0, 1)
        draws = (torch.Generator().manual_seed(seed) for seed in seeds)
        found[reuse] = [last.loss(batch_of(), 0, rng).terms["adversarial"] for rng in draws]
    torch.testing.assert_close(found[True], found[False])


@pytest.mark.parametrize("network", ["stylegan_xl", "stylegan3"])
def test_the_input_of_either_generator_may_start_shifted_by_w(encoder, network):
    def shift(deviation):
        recipe = StyleGANXL(
            **SMALL, generator_network=network, guidance_weight=0.0, input_shift=deviation
        )
        generator = recipe.build(site_of(encoder)).trained["generator"]
        label_N = torch.zeros(200, dtype=torch.int64)
        ws = generator.map(torch.randn(200, 8), Condition(label_N=label_N))
        return generator.synthesis.input.affine(ws[:, 0])[:, 2:].detach().std(dim=0)

    assert shift(0.0).tolist() == [0, 0]
    assert (shift(0.3) > 0.02).all() and (shift(0.3) < 0.6).all()
