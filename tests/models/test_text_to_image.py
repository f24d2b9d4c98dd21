import pytest
import torch

from models.interfaces import ConditionShape
from models.stylegan_t.recipe import StyleGANT
from models.text_to_image import TextToImage


def test_prompts_become_images(encoder):
    recipe = StyleGANT(channel_base=64, channel_max=8, num_res_blocks=1, group_norm_groups=4)
    generator = recipe.generator(16, ConditionShape(pooled_dim=12)).eval()
    model = TextToImage(encoder("clip"), generator)
    z = torch.randn(3, 64)
    prompts = ["a", "a longer one", "a"]
    images = model(prompts, z, truncation=0.5)
    assert images.shape == (3, 3, 16, 16)
    text = encoder("clip").encode_text(prompts)
    ws = generator.map(z, model.condition(prompts), 0.5)
    assert torch.equal(ws[:, 0, 64:], text)
    torch.testing.assert_close(images, generator.synthesize(ws))
    with pytest.raises(ValueError, match="2 prompts for 3 rows"):
        model(["a", "b"], z)
