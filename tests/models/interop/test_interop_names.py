import pytest
import torch
from torch import nn

from models.interfaces import ConditionShape
from models.interop.names import Rule, translate
from models.interop.parity_file import read_parity_file
from models.stylegan_t.discriminator import StyleGANTDiscriminator
from models.stylegan_t.generator import StyleGANTGenerator
from models.stylegan_t.names import load_discriminator, load_generator

RULES = (Rule(r"skip\..*", None), Rule(r"fc(\d)\.(weight|bias)", r"\1.\2"))


def test_renames_drops_and_reshapes():
    module = nn.Sequential(nn.Linear(2, 3))
    theirs = {"fc0.weight": torch.ones(3, 2), "fc0.bias": torch.ones(1, 3), "skip.x": torch.ones(9)}
    ours = translate(theirs, RULES, module, "a toy")
    assert ours["0.bias"].shape == (3,)
    module.load_state_dict(ours, strict=True)


def test_lists_unknown_missing_and_misshapen_names():
    module = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"a toy: unknown: other, fc7\.bias; missing.*0\.bias"):
        theirs = {"fc0.weight": torch.ones(3, 2), "other": torch.ones(1), "fc7.bias": torch.ones(3)}
        translate(theirs, RULES, module, "a toy")
    with pytest.raises(ValueError) as caught:
        theirs = {"fc0.weight": torch.ones(2, 3), "other": torch.ones(1)}
        translate(theirs, RULES, module, "toy")
    assert str(caught.value).endswith(
        "toy: unknown: other; missing (our names): 0.bias; "
        "of another shape: fc0.weight [2, 3], wanted [3, 2]"
    )


def test_whole_generator_and_discriminator(parity_folder):
    """The rules of the parts also hold one and two modules deeper."""
    mapping = read_parity_file(parity_folder / "stylegan_t_mapping.safetensors")
    synthesis = read_parity_file(parity_folder / "stylegan_t_synthesis.safetensors")
    config = synthesis.config
    net = StyleGANTGenerator(
        resolution=config["img_resolution"],
        shape=ConditionShape(pooled_dim=config["w_dim"] - mapping.config["z_dim"]),
        z_dim=mapping.config["z_dim"],
        channel_base=config["channel_base"],
        channel_max=config["channel_max"],
        num_res_blocks=config["num_res_blocks"],
        num_groups=config["gn_groups"],
    )
    theirs = {f"mapping.{k}": v for k, v in mapping.param.items()}
    theirs |= {f"synthesis.{k}": v for k, v in synthesis.param.items()}
    load_generator(net, theirs)
    weight = net.synthesis.blocks["16"].layers[1].style.projection.weight
    assert torch.equal(weight, synthesis.param["b16.convs1.1.affine.proj.weight"])

    head = read_parity_file(parity_folder / "stylegan_t_disc_head_cond.safetensors")
    heads = StyleGANTDiscriminator(
        num_taps=2, tap_dim=head.config["channels"], shape=ConditionShape(pooled_dim=32)
    )
    theirs = {f"heads.{i}.{k}": v + i for i in range(2) for k, v in head.param.items()}
    load_discriminator(heads, theirs | {"dino.model.cls_token": torch.zeros(1)})
    assert torch.equal(heads.heads[1].residual.conv.v, head.param["main.1.fn.0.weight_v"] + 1)
