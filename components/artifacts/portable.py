"""A model in forms that need none of our code: ONNX, and PyTorch's own exported programs.

    generator.onnx  text_encoder.onnx  generator.pt2  text_encoder.pt2  export.json

Every file is run again, at each batch size, and compared with the network before it is kept.

Legend: N samples, Z width of z, D width of the text embedding, T token ids, H W pixels.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.artifacts.portable_forms import (
    BATCHES,
    ONNX,
    PROGRAM,
    Part,
    as_program,
    check_packages,
    difference,
    exported,
    on_onnx_runtime,
    quietly,
    save_onnx,
)
from components.artifacts.release import model_hash
from components.durable_files import file_hash, publish_folder, sync
from components.errors import ConfigError, known_error
from components.requests.subjects import kind_of, label_names
from models.interfaces import Condition

INDEX = "export.json"
MOST = 1e-4  # difference of any pixel or entry, of images in [-1, 1] and embeddings of length 1


class DrawingGraph(nn.Module):
    """A generator as a function of tensors alone, with its stored noise.

    Args:
        generator: implements `models.interfaces.Generator`.
        kind: what it is asked with: "text", "label" or "none".
    """

    def __init__(self, generator: Any, kind: str) -> None:
        super().__init__()
        self.generator, self.kind = generator, kind

    def forward(self, z_NZ: Tensor, psi_N: Tensor, subject: Tensor | None = None) -> Tensor:
        """Return images [N, 3, H, W], about [-1, 1] and not clamped.

        Args:
            z_NZ: standard normal.
            psi_N: truncation of each image.
            subject: text embeddings [N, D] of unit length, or class indices [N], int64.
        """
        condition = Condition()
        if self.kind == "text":
            condition = Condition(pooled_ND=subject)
        elif self.kind == "label":
            condition = Condition(label_N=subject)
        ws_NLD = self.generator.map(z_NZ, condition, psi_N)
        image: Tensor = self.generator.synthesize(ws_NLD, condition, "const")
        return image


def export_model(
    model: Any, card: Mapping[str, Any], folder: Path, *, onnx: bool, program: bool
) -> dict[str, Any]:
    """Write a model's networks in portable forms, all of them or nothing; return what INDEX says.

    Args:
        model: as `load_release` returns it, on the CPU and in float32; not its fast form.
        card: of the release.
        folder: where; replaced if it is there.
        onnx, program: which forms: ONNX, `torch.export`.

    Raises:
        ConfigError: no form is asked for, the packages for one are missing, or this family's
            networks cannot be written so that they draw the same.
    """
    if not (onnx or program):
        raise ConfigError("no form to export", "--onnx", "say --onnx, --torch or both")
    if onnx:
        check_packages()
    parts = list(_parts(model, card))
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        networks = {p.name: _write(p, temporary, onnx=onnx, program=program) for p in parts}
        index = _index(card, networks, temporary)
        if kind_of(card) == "text":
            index["tokenizer"] = model.text_encoder.architecture["tokenizer"]
        (temporary / INDEX).write_text(json.dumps(index, indent=1) + "\n")
        for path in temporary.iterdir():
            sync(path)
        publish_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return index


def _parts(model: Any, card: Mapping[str, Any]) -> Iterator[Part]:
    kind, generator = kind_of(card), model.generator
    if getattr(generator, "words", ""):
        what = f"{card['recipe']['name']} reads words while it draws, which no exported form can"
        raise ConfigError(what, "export", "use ganline serve, or a model of another family")
    size = card["shape"]["pooled_dim"] if kind == "text" else card["shape"]["num_labels"]

    def drawing(n: int) -> tuple[Tensor, ...]:
        rng = torch.Generator().manual_seed(n)
        z_NZ = torch.randn(n, generator.z_dim, generator=rng)
        psi_N = torch.rand(n, generator=rng)
        if kind == "none":
            return z_NZ, psi_N
        if kind == "label":
            return z_NZ, psi_N, torch.randint(size, (n,), generator=rng)
        rows_ND = torch.randn(n, size, generator=rng)
        return z_NZ, psi_N, nn.functional.normalize(rows_ND, dim=1)

    inputs = ("z", "psi") if kind == "none" else ("z", "psi", kind)
    graph = DrawingGraph(generator, kind)
    yield Part(name="generator", module=graph, inputs=inputs, output="image", example=drawing)
    if kind == "text":
        texts = ["", "a large red ring on a blue background", "two words", "x " * 200]

        def reading(n: int) -> tuple[Tensor, ...]:
            return (model.text_encoder.tokenize([texts[i % len(texts)] for i in range(n)]),)

        encoder = model.text_encoder
        yield Part(
            name="text_encoder", module=encoder, inputs=("ids",), output="text", example=reading
        )


def _write(part: Part, folder: Path, *, onnx: bool, program: bool) -> dict[str, Any]:
    """Write one network's files; return its inputs, its output and the largest differences."""
    part.module.eval().requires_grad_(False)
    differences = {}
    try:
        with quietly():
            made = exported(part)
            if onnx:
                path = folder / f"{part.name}{ONNX}"
                save_onnx(part, made, path)
                differences["onnx"] = difference(part, on_onnx_runtime(path, part))
            if program:
                path = folder / f"{part.name}{PROGRAM}"
                torch.export.save(made, path)
                differences["torch"] = difference(part, as_program(path))
    # Both exporters raise whatever the operator that they do not know makes them raise.
    except Exception as error:
        if known_error(error):  # a full disk, no memory
            raise
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise _refusal(part, why) from error
    worst = max(differences.values())
    if not worst <= MOST:
        raise _refusal(part, f"it differs by {worst:.2g} from the network, {MOST:g} is allowed")
    outputs = part.module(*part.example(2))
    return {
        "inputs": {
            name: {"shape": ["N", *x.shape[1:]], "dtype": str(x.dtype).removeprefix("torch.")}
            for name, x in zip(part.inputs, part.example(2), strict=True)
        },
        "output": {"name": part.output, "shape": ["N", *outputs.shape[1:]]},
        "largest_difference": differences,
    }


def _refusal(part: Part, why: str) -> ConfigError:
    what = f"the {part.name.replace('_', ' ')} of this family cannot be exported: {why}"
    return ConfigError(what, "export", "use ganline serve, or a model of another family")


def _index(card: Mapping[str, Any], networks: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what a program that draws with the files has to know."""
    kind = kind_of(card)
    return {
        "format": 1,
        "model": model_hash(card),
        "family": card["recipe"]["name"],
        "asked_with": kind,
        "label_names": label_names(card) if kind == "label" else [],
        "batch": [BATCHES[0], BATCHES[-1]],
        "image_range": [-1, 1],
        "networks": dict(networks),
        "files": {path.name: file_hash(path) for path in sorted(folder.iterdir())},
    }
