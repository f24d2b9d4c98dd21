"""S-space of every family: styles read out, put back, and counted."""

import pytest
import torch

from models.families import recipes, small_fields
from models.interfaces import Condition, ConditionShape
from models.stylegan2.generator import StyleGAN2Generator

STYLED = {
    "stylegan2": ("projected_gan", {"generator_network": "stylegan2", "w_dim": 8}),
    "stylegan_t": ("stylegan_t", {}),
    "stylegan_xl": ("stylegan_xl", {}),
    "stylegan3": ("stylegan_xl", {"generator_network": "stylegan3"}),
    "gigagan": ("gigagan", {}),
}
ASKED = Condition()


def generator_of(name, **fields):
    torch.manual_seed(3)
    recipe = recipes()[name](**{**small_fields(name), **fields})
    return recipe.generator(16, ConditionShape()).eval()


@pytest.fixture(params=STYLED)
def generator(request):
    name, fields = STYLED[request.param]
    return generator_of(name, **fields)


def some_codes(generator, count=3):
    ws = generator.map(torch.randn(count, generator.z_dim), Condition())
    return ws + 0.3 * torch.randn(count, generator.num_ws, generator.w_dim)


def test_styles_draw_what_codes_draw(generator):
    ws = some_codes(generator)
    styles = generator.styles(ws)
    image = generator.synthesize(ws, ASKED)
    assert torch.equal(generator.synthesize_from_styles(styles, ASKED), image)
    assert torch.equal(generator.synthesize(ws, ASKED), image), (
        "the layers have their own styles back"
    )
    for layer in generator.style_layers():
        assert styles[layer.name].shape == (3, layer.channels)


def test_the_map_from_codes_to_layers_is_the_gradients(generator):
    """A layer's style depends on its own entry of ws, and on no other."""
    ws = some_codes(generator).requires_grad_()
    for layer in generator.style_layers():
        style = generator.styles(ws)[layer.name]
        (grad,) = torch.autograd.grad((style * torch.randn_like(style)).sum(), ws)
        moved = grad.abs().sum(dim=(0, 2)).nonzero().flatten().tolist()
        if layer.kind != "input":  # whose weights start at zero
            assert moved == [layer.code]


@pytest.mark.parametrize("name", [name for name in STYLED if name != "gigagan"])
def test_every_code_but_the_last_drives_one_convolution(name):
    family, fields = STYLED[name]
    generator = generator_of(family, **fields)
    codes = [layer.code for layer in generator.style_layers() if layer.kind != "rgb"]
    assert codes == list(range(generator.num_ws - 1))
    assert generator.style_layers()[-1].kind == "rgb"
    assert generator.style_layers()[-1].code == generator.num_ws - 1


def test_a_changed_style_changes_the_image_and_gradients_reach_it(generator):
    ws = some_codes(generator, 1)
    styles = {name: x.detach().requires_grad_() for name, x in generator.styles(ws).items()}
    image = generator.synthesize_from_styles(styles, ASKED)
    image.square().mean().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in styles.values())
    name = next(x.name for x in generator.style_layers() if x.kind == "conv")
    moved = {**styles, name: styles[name] * 3}
    assert not torch.equal(generator.synthesize_from_styles(moved, ASKED), image)


def test_styles_of_other_layers_are_refused(generator):
    styles = generator.styles(some_codes(generator))
    name = next(iter(styles))
    with pytest.raises(ValueError, match="other layers"):
        generator.synthesize_from_styles({n: x for n, x in styles.items() if n != name})
    with pytest.raises(ValueError, match="wanted"):
        generator.synthesize_from_styles({**styles, name: styles[name][:, :-1]})


@pytest.mark.parametrize("plan", ["words", "experts"])
def test_gigagans_styles_hold_all_that_a_code_does(plan):
    """Shares of kernels, shifts of taps, tokens and routers too: no code is left to be read."""
    shape, fields = ConditionShape(pooled_dim=6, token_dim=6), {}
    if plan == "experts":
        fields = {"experts": (0, 2), "style_in_attention": "output", "deformable_up_to_px": 8}
    torch.manual_seed(3)
    fields = {**small_fields("gigagan"), **fields}
    generator = recipes()["gigagan"](**fields).generator(16, shape).eval()
    words = torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)
    asked = Condition(pooled_ND=torch.randn(2, 6), tokens_NTD=words[0], mask_NT=words[1])
    z = torch.randn(2, generator.z_dim)
    ws = generator.map(z, asked) + 0.3 * torch.randn(2, generator.num_ws, generator.w_dim)
    image = generator.synthesize(ws, asked)
    assert torch.equal(generator.synthesize_from_styles(generator.styles(ws), asked), image)
    assert not torch.equal(generator.synthesize(0 * ws, asked), image)


def test_a_family_without_styles_says_so():
    generator = generator_of("projected_gan", generator_network="fastgan")
    with pytest.raises(ValueError, match="no S-space"):
        generator.styles(torch.zeros(1, generator.num_ws, generator.w_dim))


def test_the_published_faces_have_6048_style_channels():
    """FFHQ, 1024 px, config-f, without memory for its weights."""
    with torch.device("meta"):
        net = StyleGAN2Generator(resolution=1024, shape=ConditionShape())
    layers = net.style_layers()
    assert len(layers) == 26 and net.num_ws == 18
    assert sum(x.channels for x in layers if x.kind == "conv") == 6048
    assert [x.kind for x in layers] == ["conv", "rgb"] + ["conv", "conv", "rgb"] * 8
    assert [x.code for x in layers] == [
        0,
        1,
        *(i for j in range(8) for i in (2 * j + 1, 2 * j + 2, 2 * j + 3)),
    ]
