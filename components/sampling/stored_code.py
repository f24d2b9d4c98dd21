"""Files of codes: inversion writes them; sampling draws, truncates or walks between them.

A file is safetensors: `ws` [L, D] in float32, and in its header one JSON record of what the code
belongs to. Nothing is executed on load.

Legend: N codes or frames, L layers, D width of a code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.errors import ConfigError, StorageError
from components.requests.images import check_truncation, check_walk
from components.sampling.draw import BATCH, Noise, conditions, layer_noise, render, seed_noise
from components.sampling.modes import device_of, evaluation_mode
from components.sampling.walk import frame_places

_RECORD = "ganline_code"
_SEED = 0  # of noise "random", which a code says nothing about


@dataclass(frozen=True, kw_only=True)
class StoredCode:
    """A code and the model it belongs to.

    Attributes:
        ws_LD: one code per layer of the generator.
        subject: prompt or class it was found for (components/requests/subjects.py).
        generator_sha256: of the weights it was found for.
        facts: how it was found; strings and numbers.
    """

    ws_LD: Tensor
    subject: str
    generator_sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_code(path: Path, code: StoredCode) -> None:
    """Write a code's file; the same code gives the same bytes."""
    from safetensors.torch import save_file

    record = {
        "subject": code.subject,
        "generator_sha256": code.generator_sha256,
        "facts": dict(code.facts),
    }
    ws_LD = code.ws_LD.detach().float().cpu().contiguous()
    # One entry: the library writes several in any order.
    save_file({"ws": ws_LD}, path, metadata={_RECORD: json.dumps(record, sort_keys=True)})
    path.chmod(0o644)  # the library leaves it readable by its owner alone


def read_code(path: Path) -> StoredCode:
    """Return the code of a file.

    Raises:
        StorageError: the file is missing, is no code's, or holds NaN or infinity.
    """
    from safetensors import SafetensorError, safe_open

    todo = "name a file that ganline invert wrote"
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})[_RECORD])
            ws_LD = file.get_tensor("ws").float()
        code = StoredCode(
            ws_LD=ws_LD,
            subject=str(record["subject"]),
            generator_sha256=str(record["generator_sha256"]),
            facts=dict(record["facts"]),
        )
    except FileNotFoundError as error:
        raise StorageError("there is no such file", str(path), todo) from error
    except OSError as error:
        raise StorageError(f"not readable: {error.strerror or error}", str(path), todo) from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StorageError("this is no file of a code", str(path), todo) from error
    if ws_LD.ndim != 2 or not ws_LD.isfinite().all():
        raise StorageError("the code has NaN, infinity or another shape", str(path), todo)
    return code


def check_codes(codes: Sequence[StoredCode], hashes: Sequence[str]) -> None:
    """Raise ConfigError unless every code was found for one of these weights."""
    for code in codes:
        if code.generator_sha256 not in hashes:
            raise ConfigError(
                f"the code is of weights {code.generator_sha256[:12]}, "
                f"the model has {hashes[0][:12]}",
                "--code",
                "give the model that the code was found for",
            )


def draw_codes(
    model: Any,
    codes: Sequence[StoredCode],
    truncation: float = 1.0,
    batch: int = BATCH,
    noise: Noise = "const",
) -> np.ndarray:
    """Return the images of codes, uint8 [N, H, W, 3].

    Args:
        model: a release's, see `generate`.
        codes: at least one, of this model.
        truncation: psi in [-2, 2]; 0 is the mean image of the code's prompt or class.
        batch, noise: see `generate`.

    Raises:
        ConfigError: psi is not allowed, or a code does not fit the generator.
        NonFiniteError: the generator gave NaN or infinity.
    """
    generator, images = model.generator, []
    for start in range(0, len(codes), batch):
        part = codes[start : start + batch]
        ws_NLD = _truncated(model, part, truncation)
        condition = conditions(model, [code.subject for code in part]).to(ws_NLD.device)
        layers = layer_noise(generator, [_SEED] * len(part), noise)
        images.append(render(generator, ws_NLD, condition, layers))
    return np.concatenate(images)


def walk_codes(
    model: Any,
    codes: Sequence[StoredCode],
    frames: int,
    *,
    loop: bool = False,
    truncation: float = 1.0,
    batch: int = BATCH,
    noise: Noise = "const",
) -> Iterator[np.ndarray]:
    """Yield the frames of a straight walk between codes, uint8 [n, H, W, 3], batch by batch.

    Arguments and errors as in `draw_codes` and `walk`.
    """
    check_walk(len(codes), frames)
    places = frame_places(len(codes), frames, loop)
    stops_KLD = _truncated(model, codes, truncation)
    subjects = conditions(model, [code.subject for code in codes]).to(stops_KLD.device)
    for start in range(0, frames, batch):
        part = places[start : start + batch]
        share_N11 = torch.tensor([[[p.share]] for p in part], device=stops_KLD.device)
        before, after = [p.before for p in part], [p.after for p in part]
        ws_NLD = torch.lerp(stops_KLD[before], stops_KLD[after], share_N11)
        condition = subjects[[p.before if p.share < 0.5 else p.after for p in part]]
        still = layer_noise(model.generator, [_SEED] * len(part), noise)
        yield render(model.generator, ws_NLD, condition, still)


def _truncated(model: Any, codes: Sequence[StoredCode], truncation: float) -> Tensor:
    """Return ws [N, L, D] on the generator's device, drawn towards the mean of each subject."""
    check_truncation(truncation)
    generator = model.generator
    device = device_of(generator)
    condition = conditions(model, [code.subject for code in codes]).to(device)
    z_ND = seed_noise([_SEED] * len(codes), generator.z_dim).to(device)
    with torch.inference_mode(), evaluation_mode(generator):
        mean_NLD = generator.map(z_ND, condition, 0.0)
        for code in codes:
            if code.ws_LD.shape != mean_NLD.shape[1:]:
                raise ConfigError(
                    f"the code has the shape {list(code.ws_LD.shape)}",
                    "--code",
                    f"the generator wants {list(mean_NLD.shape[1:])}",
                )
        ws_NLD = torch.stack([code.ws_LD for code in codes]).to(device)
        return ws_NLD if truncation == 1 else torch.lerp(mean_NLD, ws_NLD, truncation)
