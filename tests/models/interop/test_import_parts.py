"""What importers read from shapes: discriminators, class tables, conditional generators."""

import pytest
import torch

from models.families import recipes
from models.interfaces import Condition, ConditionShape
from models.interop.foreign_network import ForeignNetwork
from models.interop.import_request import Asked, Sizes
from models.interop.importing import import_networks
from models.projected_gan import checkpoint as projected_gan_checkpoint
from models.projected_gan.discriminator import ProjectedDiscriminator
from models.stylegan_t import checkpoint as stylegan_t_checkpoint
from tests.models.interop.authors_files import below, parity
from tests.models.projected_gan.test_names import authors_generator, generator


def recipe_of(sizes):
    return recipes()[sizes.recipe](**sizes.fields).generator(sizes.resolution, sizes.shape)


def sizes_with(resolution=256, **shape):
    return Sizes(recipe="", fields={}, resolution=resolution, shape=ConditionShape(**shape))


def test_stylegan_t_heads_give_the_authors_logits():
    file = parity("stylegan_t_disc_head_cond")
    theirs = {**below("heads.0", file.param), **below("heads.1", file.param)}
    network = ForeignNetwork({**theirs, "dino.model.model.cls_token": torch.zeros(1, 1, 48)})
    part = stylegan_t_checkpoint.discriminator(network, sizes_with(pooled_dim=32))
    assert part.fields == {"head_kernel_size": 9, "cmap_dim": 64}
    module = part.build()
    part.load(module, network.read())
    taps = {f"tap_{i}": file.input["features"] for i in range(2)}
    logits = module(taps, Condition(pooled_ND=file.input["c"]))
    wanted = file.output["logits"][:, 0]
    torch.testing.assert_close(logits, torch.cat([wanted, wanted], dim=1), rtol=1e-4, atol=1e-4)


# Our names in a projected discriminator -> the authors'.
def authors_discriminator(module, separable):
    theirs = {"feature_network.pretrained.layer0.0.weight": torch.zeros(2, device="meta")}
    for name, tensor in module.state_dict().items():
        path = name.split(".")
        if path[0] == "projection":
            kind = "ccm" if path[1] == "channel_mixing" else "csm.out_conv"
            name = f"feature_network.scratch.layer{path[2]}_{kind}.{path[-1]}"
        else:
            last = {"weight": "weight_orig", "u": "weight_u", "v": "weight_v"}
            at = f"discriminator.mini_discs.{path[1]}"
            own = last.get(path[-1], path[-1])
            if path[2] == "blocks":
                part = {"conv": "0.pointwise" if separable else "0", "depthwise": "0.depthwise"}
                own = path[-1] if path[4] == "norm" else own
                name = f"{at}.main.{path[3]}.main.{part.get(path[4], '1')}.{own}"
            elif path[2] == "classify":
                conditional = any("project" in n for n in module.state_dict())
                count = len(module.heads[int(path[1])].blocks)
                name = f"{at}.cls.{own}" if conditional else f"{at}.main.{count}.{own}"
            elif path[2] == "project":
                name = f"{at}.embed_proj.0.{path[-1]}"
            else:
                name = f"{at}.embed.weight"
                tensor = torch.zeros(1000, tensor.shape[1], device="meta")
        theirs[name] = tensor
    return theirs


@pytest.mark.parametrize("classes", [0, 7])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"separable": True},
        {"kernel_size": 3},
        {"level": 1, "expand": False},
        {"level": 0},
        {"level": 0, "separable": True},
    ],
)
@pytest.mark.parametrize("resolution", [64, 256])
def test_a_projected_discriminator_is_known_by_its_tensors(resolution, options, classes):
    """At the published widths, on the meta device: 10 million numbers would only be copied."""
    size_px = max(resolution, 224)
    with torch.device("meta"):
        module = ProjectedDiscriminator(
            channels=[24, 40, 112, 320],
            sides=[size_px // stride for stride in (4, 8, 16, 32)],
            shape=ConditionShape(num_labels=classes),
            **options,
        )
        network = ForeignNetwork(authors_discriminator(module, options.get("separable", False)))
        sizes = sizes_with(resolution, num_labels=classes)
        part = projected_gan_checkpoint.projected_discriminator(network, sizes)
        found = part.build()
        part.load(found, network.outline())
    level = options.get("level", 2)
    assert part.fields["projection_level"] == level
    assert part.fields["separable"] == options.get("separable", False)
    if level == 2:
        assert part.fields["projection_kernel_size"] == options.get("kernel_size", 1)
    if level:
        assert part.fields["projection_expand"] == options.get("expand", True)
    assert ("cmap_dim" in part.fields) == bool(classes)
    own = recipes()["projected_gan"](**part.fields)  # every field is one of the recipe's
    assert own.projection_level == level


def test_another_discriminator_is_left_out_with_a_word():
    theirs = dict(parity("stylegan2_generator").param)
    critic = ForeignNetwork({"b32.fromrgb.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="no projected discriminator"):
        projected_gan_checkpoint.projected_discriminator(critic, sizes_with())
    found = import_networks({"G_ema": theirs, "D": {"b32.x": torch.ones(1)}}, Asked(), recipe_of)
    assert found.discriminator is None
    assert found.remarks[-1].startswith("left out: the discriminator (it is no projected")


@pytest.mark.parametrize("lite", [False, True])
@pytest.mark.parametrize("asked", [0, 2])
def test_a_table_of_a_thousand_classes_is_cut_to_those_there_are(lite, asked):
    source = generator(64, lite=lite, conditional=True)
    theirs = below("synthesis", authors_generator(source, lite=lite, conditional=True))
    table = torch.randn(1000, theirs["synthesis.embed.weight"].shape[1])
    theirs["synthesis.embed.weight"] = table
    if not asked:  # a snapshot tells the number itself
        theirs = ForeignNetwork(theirs, {"c_dim": 3, "img_resolution": 64})
    else:
        theirs = ForeignNetwork(theirs)
    found = projected_gan_checkpoint.fastgan_sizes(theirs, Asked(num_labels=asked))
    assert found.shape == ConditionShape(num_labels=asked or 3)
    assert found.resolution == 64
    module = recipe_of(found)
    projected_gan_checkpoint.load_fastgan(module, theirs.read())
    assert torch.equal(module.condition.table, table[: asked or 3])
    with pytest.raises(ValueError, match="1001 classes, but its table has 1000 rows"):
        projected_gan_checkpoint.fastgan_sizes(theirs, Asked(num_labels=1001))


@pytest.mark.parametrize(
    ("name", "value"),
    [("mapping.fc0.bias_gain", 0.1), ("synthesis.b4.conv1.activation", "relu")],
)
def test_a_constant_that_is_not_the_published_one_is_named(name, value):
    network = ForeignNetwork(dict(parity("stylegan2_generator").param), {name: value})
    with pytest.raises(ValueError, match=f"^{name} is {value}: ours is the published"):
        projected_gan_checkpoint.stylegan2_sizes(network, Asked())


def test_another_filter_is_named():
    theirs = {**parity("stylegan2_generator").param, "synthesis.b8.resample_filter": torch.ones(2)}
    with pytest.raises(ValueError, match="four taps"):
        projected_gan_checkpoint.stylegan2_sizes(ForeignNetwork(theirs), Asked())


def test_stylegan2_of_classes():
    theirs = dict(parity("stylegan2_generator").param)
    theirs["mapping.embed.weight"] = torch.randn(32, 5)
    theirs["mapping.embed.bias"] = torch.zeros(32)
    theirs["mapping.fc0.weight"] = torch.randn(32, 64)
    found = import_networks(theirs, Asked(), recipe_of)
    assert found.sizes.shape == ConditionShape(num_labels=5)
    assert found.sizes.fields["z_dim"] == 32
    assert torch.equal(found.generator["mapping.embed.weight"], theirs["mapping.embed.weight"])
