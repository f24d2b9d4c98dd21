"""Recompute what AuraSR's code computed, from a parity file's weights and inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.gigagan.adaptive_conv import adaptive_convolution
from models.gigagan.aura import ATTENTION_RULES, RULES, STYLE_RULES, load_aura, upsampler_fields
from models.gigagan.names import numbered
from models.gigagan.parity_gradients import fill, variables, with_gradients
from models.gigagan.text_head import Text
from models.gigagan.tiles import shifted_half, tile_weights, upscale_strips
from models.gigagan.unet import Upsampler
from models.gigagan.unet_blocks import PixelAttention, StyleNetwork
from models.interfaces import Blend
from models.interop.names import Rule
from models.interop.parity_file import ParityCheck, ParityFile


class _Bank(nn.Module):
    """A bank of kernels alone, as their convolution is."""

    def __init__(self, size: torch.Size) -> None:
        super().__init__()
        self.num_kernels = size[0]
        self.weights = nn.Parameter(torch.empty(size[0] * size[1], *size[2:]))


def adaptive_conv(file: ParityFile) -> dict[str, Tensor]:
    """The convolution that is told its modulation and its kernels' logits."""
    module = _Bank(file.param["weights"].shape)
    rules = (Rule("weights", "weights"),)
    fill(module, file, rules)
    given = variables(file)
    share = given["kernel_mod"].softmax(dim=1) if "kernel_mod" in given else None
    kernels = module.weights.unflatten(0, (module.num_kernels, -1))
    y = adaptive_convolution(
        *(given["x"], kernels, given["mod"] + 1, share), demodulate=file.config["demod"]
    )
    return with_gradients(file, module, rules, given, {"y": y})


def style_network(file: ParityFile) -> dict[str, Tensor]:
    """z to w."""
    config = file.config
    module = StyleNetwork(
        *(config["dim_in"], 0, config["dim_out"], config["depth"]), config.get("lr_mul", 0.1)
    )
    fill(module, file, STYLE_RULES)
    given = variables(file)
    return with_gradients(file, module, STYLE_RULES, given, {"w": module(given["z"])})


def transformer(file: ParityFile) -> dict[str, Tensor]:
    """Layers of full attention on an image."""
    config = file.config
    module = nn.ModuleList(
        PixelAttention(
            *(config["dim"], 0, config["heads"], config["dim_head"]), config.get("ff_mult", 4)
        )
        for _ in range(config["depth"])
    )
    rules = numbered(r"layers\.(\d+)\.", r"\1.", ATTENTION_RULES)
    fill(module, file, rules)
    given = variables(file)
    tokens = given["x"].flatten(2).transpose(1, 2)
    for layer in module:
        tokens = layer(tokens, Text())
    y = tokens.transpose(1, 2).unflatten(2, given["x"].shape[2:])
    return with_gradients(file, module, rules, given, {"y": y})


def linear_transformer(file: ParityFile) -> dict[str, Tensor]:
    """The attention of linear cost that no released configuration builds."""
    config = file.config
    weights = {n: x.clone().requires_grad_() for n, x in file.param.items()}
    given = variables(file)
    x = given["x"]

    def norm(image: Tensor, gain: Tensor) -> Tensor:
        return F.normalize(image, dim=1) * gain * image.shape[1] ** 0.5

    for number in range(config["depth"]):
        own = {n.removeprefix(f"layers.{number}."): w for n, w in weights.items()}
        qkv = F.conv2d(norm(x, own["0.norm.g"]), own["0.to_qkv.weight"])
        parts = qkv.flatten(2).unflatten(1, (3, config["heads"], -1)).unbind(1)
        query, key = parts[0].softmax(dim=2) * config["dim_head"] ** -0.5, parts[1].softmax(dim=3)
        memory = key @ parts[2].transpose(2, 3)
        read = (memory.transpose(2, 3) @ query).flatten(1, 2).unflatten(2, x.shape[2:])
        out = F.conv2d(read, own["0.to_out.0.weight"], own["0.to_out.0.bias"])
        x = x + norm(out, own["0.to_out.1.g"])
        y = F.gelu(F.conv2d(norm(x, own["1.0.g"]), own["1.1.weight"], own["1.1.bias"]))
        x = x + F.conv2d(y, own["1.3.weight"], own["1.3.bias"])
    (x * file.input["cotangent_y"]).sum().backward()
    found: dict[str, Tensor] = {"y": x}
    for name in file.output:
        if name.startswith("grad_"):
            gradient = {**weights, **given}[name.removeprefix("grad_")].grad
            assert gradient is not None
            found[name] = gradient
    return found


def _network(file: ParityFile) -> Upsampler:
    module = Upsampler(**upsampler_fields(file.config))
    load_aura(module, file.param)
    return module


def upsampler(file: ParityFile) -> dict[str, Tensor]:
    """The whole network, without the noise on its input."""
    module = _network(file)
    given = variables(file)
    image = module(given["lowres"].clamp(0, 1), given["noise"])[0]
    outputs = {"img": image, "style": module.style(given["noise"])}
    return with_gradients(file, module, RULES, given, outputs)


def pipeline(file: ParityFile) -> dict[str, Tensor]:
    """Whole images by tiles: one pass, and two in either blend."""
    module = _network(file)
    image = file.input["image_uint8"]
    if image.shape[0] != 3:
        image = image.permute(2, 0, 1)
    small = image.float() / 255

    @torch.no_grad()
    def enlarge(tiles: Tensor) -> Tensor:
        z = file.input["noise"].expand(len(tiles), -1)
        return module(tiles, z)[0].clamp(0, 1)

    blends: dict[str, Blend] = {
        "plain": "none",
        "overlapped_checkboard": "smooth",
        "overlapped_constant": "equal",
    }
    sizes = {"side": file.config["input_image_size"], "factor": module.factor}
    return {
        name: torch.cat(list(upscale_strips(small, enlarge, blend=blends[name], **sizes)), dim=1)
        for name in file.output
    }


def tiles(file: ParityFile) -> dict[str, Tensor]:
    """Weights of the tiles of both passes, and tiles put together."""
    side, (height, width) = file.config["tile_size"], file.config["image_size"]
    chunk = file.config["merge_chunk"]
    weight = tile_weights(side)
    plane = weight.repeat(-(-height // side) + 1, -(-width // side) + 1)
    first, second = (x[:height, :width] for x in (plane, shifted_half(plane, side)))
    number = iter(range(1, 1 + height * width))

    def counted(tiles: Tensor) -> Tensor:
        return torch.stack([tile * next(number) for tile in tiles])

    strips = upscale_strips(file.input["img"], counted, side=chunk, factor=1, blend="none")
    return {
        "tile_weights": weight,
        "repeat_weights": first,
        "offset_weights": second,
        "blend_first_pass": first / (first + second),
        "merged": torch.cat(list(strips), dim=1),
    }


CHECKS: dict[str, Any] = {
    "aura_adaptive_conv": ParityCheck(adaptive_conv),
    "aura_style_network": ParityCheck(style_network),
    "aura_transformer": ParityCheck(transformer),
    "aura_linear_transformer": ParityCheck(linear_transformer),
    "aura_upsampler": ParityCheck(upsampler),
    "aura_pipeline": ParityCheck(pipeline),
    "aura_tile_weights": ParityCheck(tiles),
}
