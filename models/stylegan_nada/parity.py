"""Recompute what StyleGAN-NADA's own code computed, from a parity file.

CLIP is a stub there: image embeddings are a fixed projection of the averaged preprocessed image,
text embeddings are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.editing.clip_view import enlarged_and_pooled, shorter_side
from models.editing.directions import mean_direction, text_direction
from models.interfaces import Condition
from models.interop.parity_file import ParityCheck, ParityFile
from models.stylegan2.rosinality import rules
from models.stylegan2.rosinality_parity import build_generator, parameters_of
from models.stylegan_nada.losses import angle, directional, to_end
from models.stylegan_nada.selection import chosen, displacement, scores

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def normalised(image_NCHW: Tensor) -> Tensor:
    """Bring [-1, 1] to what CLIP's network takes, by its published mean and deviation."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    return ((image_NCHW + 1) / 2 - mean) / std


def stub(
    projection: Tensor, config: Mapping[str, Any], *, antialias: bool = False
) -> Callable[[Tensor], Tensor]:
    """Return images -> unit embeddings by a file's stand-in for CLIP."""

    def embed(image_NCHW: Tensor) -> Tensor:
        size = config["input_resolution"]
        seen = normalised(shorter_side(image_NCHW, size, antialias=antialias))
        return F.normalize(features(seen, projection, config["pool"]), dim=1)

    return embed


def features(seen_NCHW: Tensor, projection: Tensor, pool: int) -> Tensor:
    """Return the stub's embeddings [N, E], of any length."""
    return F.adaptive_avg_pool2d(seen_NCHW, pool).flatten(1) @ projection.t()


def preprocess(file: ParityFile) -> dict[str, Tensor]:
    """Both resizes of three sizes."""
    size = file.config["input_resolution"]
    return {
        f"{name}_{kind}": normalised(shorter_side(image, size, antialias=kind == "antialias"))
        for name, image in file.input.items()
        for kind in ("authors", "antialias")
    }


def losses(file: ParityFile) -> dict[str, Tensor]:
    """Directions, all losses by each of the CLIPs, and gradients of three of them."""
    config, given = file.config, file.input
    image = given["target_img"].clone().requires_grad_()
    pictures = pictures_of(given["style_images_uint8"], config["input_resolution"])
    ours = {"style_images_preprocessed": pictures}
    total, scale = torch.zeros(()), config["grad_scale"]
    for i, weight in enumerate(config["clip_weights"]):
        projection = file.param[f"image_proj_{i}"]
        embed = stub(projection, config, antialias=config["antialias"])
        source_TE, target_TE = given[f"text_source_{i}"], given[f"text_target_{i}"]
        before_NE, after_NE = embed(given["source_img"]), embed(image)
        direction_E = text_direction(source_TE, target_TE)
        end_E = F.normalize(given[f"text_global_{i}"], dim=1)[0]
        means = [
            F.normalize(F.normalize(x, dim=1).mean(dim=0), dim=0) for x in (source_TE, target_TE)
        ]
        shown_NE = F.normalize(features(pictures, projection, config["pool"]), dim=1)
        few_E = mean_direction(before_NE, shown_NE)
        found = {
            "directional": directional(before_NE, after_NE, direction_E).mean(),
            "global": to_end(after_NE, end_E).mean(),
            "angle": angle(before_NE, after_NE, float(means[0] @ means[1])).mean(),
            "few_shot_loss": directional(before_NE, after_NE, few_E).mean(),
            "text_direction": direction_E[None],
            "few_shot_direction": few_E[None],
        }
        ours |= {f"{name}_{i}": x for name, x in found.items()}
        total = total + weight * found["directional"]
    ours["total"] = total
    wanted = {"grad_target_img": total, "grad_global_0": ours["global_0"]}
    for name, x in {**wanted, "grad_angle_0": ours["angle_0"]}.items():
        (ours[name],) = torch.autograd.grad(scale * x, image, retain_graph=True)
    return ours


def pictures_of(images_NHWC: Tensor, size: int) -> Tensor:
    """Return what the published code makes of target pictures: PIL's resize, then a crop."""
    made = []
    for pixels in images_NHWC.numpy():
        height, width = pixels.shape[:2]
        short = min(height, width)
        sides = (size * height // short, size * width // short)
        resized = Image.fromarray(pixels).resize(sides[::-1], Image.Resampling.BICUBIC)
        top, left = (round((side - size) / 2) for side in sides)
        cut = np.asarray(resized)[top : top + size, left : left + size]
        made.append(torch.from_numpy(cut.copy()).permute(2, 0, 1))
    return normalised(torch.stack(made).float() / 127.5 - 1)


def adaptive_layers(file: ParityFile) -> dict[str, Tensor]:
    """Ranking of layers after so many steps, and the gradients of the chosen ones."""
    config, given = file.config, file.input
    frozen, trained = (
        build_generator(config, _below(file.param, f"{name}/")) for name in ("frozen", "trained")
    )
    embed = stub(file.param["image_proj"], config)
    weight = config["clip_model_weight"]
    end_E = F.normalize(given["text_target_raw"], dim=1)[0]
    ours: dict[str, Tensor] = {}
    codes_NLD = frozen.map(given["sample_z"], Condition()).detach().clone()

    def ranking(ws_NLD: Tensor) -> Tensor:
        return weight * to_end(embed(trained.synthesize(ws_NLD, noise="none")), end_E).mean()

    ws_NLD = frozen.map(given["train_z"], Condition()).detach()
    with torch.no_grad():
        ours["frozen_img"] = frozen.synthesize(ws_NLD, noise="none")
    ours["trained_img"] = trained.synthesize(ws_NLD, noise="none")
    direction_E = text_direction(given["text_source"], given["text_target"])
    before_NE, after_NE = embed(ours["frozen_img"]), embed(ours["trained_img"])
    ours["loss"] = weight * directional(before_NE, after_NE, direction_E).mean()
    for steps in config["iterations"]:
        moved_NLD = displacement(codes_NLD, ranking, steps=steps, rate=config["sgd_lr"])
        score_L = scores(moved_NLD)
        largest = moved_NLD.abs().max()
        ours[f"displacement_relative_{steps}"] = moved_NLD / largest
        ours[f"layer_score_relative_{steps}"] = score_L / score_L.max()
        ours[f"scale_log10_{steps}"] = largest.log10()
        ours[f"layer_order_{steps}"] = score_L.argsort(descending=True).to(torch.float32)
        layers = trained.style_layers()
        found = chosen(layers, score_L, config["auto_layer_k"], "published")
        names = [n for n in file.output if n.startswith(f"grad_{steps}/")]
        targets = parameters_of(
            trained, [n.partition("/")[2] for n in names], rules(trained.resolution)
        )
        allowed = {id(p) for layer in found for p in layer.module.parameters()}
        if wrong := [n for n, p in targets.items() if id(p) not in allowed]:
            raise ValueError(f"chosen layers lack {', '.join(wrong)}")
        grads = torch.autograd.grad(ours["loss"], list(targets.values()), retain_graph=True)
        for name, grad in zip(targets, grads, strict=True):
            key = f"grad_{steps}/{name}"
            ours[key] = grad.reshape(file.output[key].shape)
    return ours


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): x for n, x in tensors.items() if n.startswith(prefix)}


def mapper_criterion(file: ParityFile) -> dict[str, Tensor]:
    """Distance to a text by two CLIPs, the norm loss, and the gradient of their sum."""
    config, given = file.config, file.input
    image = given["img"].clone().requires_grad_()
    embedded = [
        features(enlarged_and_pooled(x), file.param["image_proj_0"], config["pool"])
        for x in (given["img_before"], image)
    ]
    similarity_N1 = torch.zeros(len(image), 1)
    for i in range(sum(name.startswith("text_") for name in given)):
        x_NE = features(enlarged_and_pooled(image), file.param[f"image_proj_{i}"], config["pool"])
        text_E = F.normalize(given[f"text_{i}"], dim=1)[0]
        similarity_N1 = similarity_N1 + to_end(F.normalize(x_NE, dim=1), text_E)[:, None]
    norm = (embedded[0].norm(dim=1) - embedded[1].norm(dim=1)).square().mean()
    loss = config["grad_scale"] * (similarity_N1.mean() + config["norm_lambda"] * norm)
    (grad,) = torch.autograd.grad(loss, image)
    return {"similarity_loss": similarity_N1, "norm_loss": norm, "grad_img": grad}


CHECKS = {
    "nada_clip_preprocess": ParityCheck(preprocess),
    "nada_losses": ParityCheck(losses),
    "nada_adaptive_layers": ParityCheck(adaptive_layers),
    "nada_mapper_criterion": ParityCheck(mapper_criterion),
}
