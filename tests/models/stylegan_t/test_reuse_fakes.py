"""The discriminator judges the generator's own images when the recipe says so."""

from dataclasses import replace

import torch
from torch.nn import functional as F

from tests.models.stylegan_t.test_recipe import TINY, build, make_batch


def test_with_reuse_fakes_the_discriminator_judges_the_images_that_the_generator_drew(encoder):
    recipe = replace(TINY, reuse_fakes=True, pixel_head=4, diff_augment=(), cnn_heads=("stage_1",))
    networks = build(encoder, recipe)
    batches = [make_batch(4), make_batch(4)]
    model, heads = networks.trained["generator"], networks.trained["discriminator"]
    expected = []
    with torch.no_grad():
        for number, batch in enumerate(batches):
            rng = torch.Generator().manual_seed(number)
            z = torch.randn(batch.size, recipe.z_dim, generator=rng)
            noise = model.draw_noise(batch.size, rng)
            fake = model.synthesize(model.map(z, batch.condition), batch.condition, noise)

            def seen(x):
                maps = networks.frozen["classifier"].pyramid(x, 8).items()
                flat = {name: y.flatten(2) for name, y in maps}
                return {**networks.frozen["dino"](x), **flat, "pixels": x}

            logits = [heads(seen(x), batch.condition) for x in (batch.image_NCHW, fake)]
            real, fake = (sign * x for sign, x in zip((-1, 1), logits, strict=True))
            expected.append(F.relu(1 + real).mean(1) + F.relu(1 + fake).mean(1))

    first, second = recipe.phases(networks)
    assert (first.name, second.name) == ("generator", "discriminator")
    for _ in range(2):  # nothing is left over from an iteration
        for number, batch in enumerate(batches):
            first.loss(batch, 0, torch.Generator().manual_seed(number))
        for batch, wanted in zip(batches, expected, strict=True):
            found = second.loss(batch, 0, torch.Generator().manual_seed(9)).terms["adversarial"]
            torch.testing.assert_close(found, wanted)
