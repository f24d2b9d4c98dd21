"""Walks between images: prompts and seeds change smoothly, the noise stays, so nothing flickers.

Text embeddings, which have unit length, move on the sphere (slerp); what belongs to the seed moves
in w by a straight line, as in Karras et al. 2019, or in z on the sphere. Between classes there is
nothing in the condition: there w alone moves.

Legend: N frames, D width, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from components.errors import ConfigError
from components.requests.images import check_walk
from components.sampling.draw import (
    BATCH,
    Noise,
    check_rows,
    conditions,
    layer_noise,
    render,
    seed_noise,
)
from components.sampling.modes import device_of, evaluation_mode
from components.sampling.truncation import MEAN, Towards, map_codes
from models.interfaces import Condition

Space = Literal["w", "z"]


@dataclass(frozen=True, kw_only=True)
class Keyframe:
    """A stop of the walk: what `generate` would draw for this prompt and seed."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Place:
    """A frame: `share` of the way from keyframe `before` to keyframe `after`."""

    before: int
    after: int
    share: float


def walk(
    model: Any,
    keyframes: Sequence[Keyframe],
    frames: int,
    *,
    loop: bool = False,
    space: Space = "w",
    truncation: float = 1.0,
    batch: int = BATCH,
    noise: Noise = "const",
    towards: Towards = MEAN,
) -> Iterator[np.ndarray]:
    """Yield the frames, uint8 [n, H, W, 3], batch by batch.

    Args:
        model: see `generate`.
        keyframes: at least two; each is met where the number of frames divides evenly.
        frames: of the whole walk, at least one per keyframe.
        loop: go back to the first keyframe; its frame is not repeated at the end.
        space: where what belongs to the seed moves.
        truncation: see `generate`.
        batch: frames per forward pass.
        noise: see `generate`; "random" is drawn once, from the first seed, for all frames.
        towards: see `generate`.

    Raises:
        ConfigError: as `generate`; too few keyframes or frames; in space z, classes that differ or
            centroids, of which the nearest would change at once.
    """
    check_rows([k.prompt for k in keyframes], [k.seed for k in keyframes], truncation)
    check_walk(len(keyframes), frames)
    if space not in get_args(Space):
        raise ConfigError(f"space is {space!r}", "space", f"use {' or '.join(get_args(Space))}")
    places = frame_places(len(keyframes), frames, loop)
    generator = model.generator
    stops = conditions(model, [k.prompt for k in keyframes]).to(device_of(generator))
    z_KD = seed_noise([k.seed for k in keyframes], generator.z_dim).to(device_of(generator))
    if space == "z" and stops.pooled_ND is None and len({k.prompt for k in keyframes}) > 1:
        raise ConfigError("classes cannot be mixed in z", "space", "use space w")
    if space == "z" and towards.centroids_MD is not None:
        raise ConfigError("between centroids a walk in z would jump", "space", "use space w")
    map_z = partial(map_codes, generator, truncation=truncation, towards=towards)
    for start in range(0, frames, batch):
        part = places[start : start + batch]
        with torch.inference_mode(), evaluation_mode(generator):
            ws_NLD, condition = _between(map_z, z_KD, stops, part, space)
        still = layer_noise(generator, [keyframes[0].seed] * len(part), noise)
        yield render(generator, ws_NLD, condition, still)


def slerp(a_ND: Tensor, b_ND: Tensor, share_N1: Tensor) -> Tensor:
    """Return points on the arc from a to b [N, D]; lengths change linearly.

    Where the arc is not defined (equal or opposite directions) the straight line is taken.
    """
    length_a, length_b = a_ND.norm(dim=1, keepdim=True), b_ND.norm(dim=1, keepdim=True)
    unit_a, unit_b = a_ND / length_a.clamp(min=1e-12), b_ND / length_b.clamp(min=1e-12)
    # Twice the arc tangent: exact for small and for large angles, where the arc cosine is not.
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=1), (unit_a + unit_b).norm(dim=1))
    angle_N1 = angle[:, None]
    sine = angle_N1.sin()
    arc = unit_a * ((1 - share_N1) * angle_N1).sin() + unit_b * (share_N1 * angle_N1).sin()
    arc = arc / sine * torch.lerp(length_a, length_b, share_N1)
    return torch.where(sine > 1e-6, arc, torch.lerp(a_ND, b_ND, share_N1))


def _between(
    map_z: Callable[[Tensor, Condition], Tensor],
    z_KD: Tensor,
    stops: Condition,
    places: Sequence[Place],
    space: Space,
) -> tuple[Tensor, Condition]:
    """Return codes [N, L, D] and conditions of some frames."""
    before, after = [p.before for p in places], [p.after for p in places]
    share_N1 = torch.tensor([[p.share] for p in places], device=z_KD.device)
    first, last = stops[before], stops[after]
    condition = stops[[p.before if p.share < 0.5 else p.after for p in places]]
    if _is_text(stops):
        assert first.pooled_ND is not None and last.pooled_ND is not None
        first = last = condition = Condition(
            pooled_ND=slerp(first.pooled_ND, last.pooled_ND, share_N1)
        )
    elif first.tokens_NTD is not None and last.tokens_NTD is not None:
        # All prompts have as many words, padding included, so that word moves to word.
        tokens_NTD = torch.lerp(first.tokens_NTD, last.tokens_NTD, share_N1[:, :, None])
        condition = replace(condition, tokens_NTD=tokens_NTD, ids_NT=None)
    if space == "z":
        z_ND = slerp(z_KD[before], z_KD[after], share_N1)
        return map_z(z_ND, condition), condition
    ws_before = map_z(z_KD[before], first)
    ws_after = map_z(z_KD[after], last)
    return torch.lerp(ws_before, ws_after, share_N1[:, :, None]), condition


def _is_text(condition: Condition) -> bool:
    """Return whether one embedding is all there is, so that it can be moved on the sphere."""
    return condition.pooled_ND is not None and condition.tokens_NTD is None


def frame_places(keyframes: int, frames: int, loop: bool) -> list[Place]:
    """Return where each frame of a walk stands."""
    legs = keyframes if loop else keyframes - 1
    steps = frames if loop else frames - 1
    places = []
    for frame in range(frames):
        # In whole numbers, so that a keyframe is met exactly.
        leg, rest = divmod(frame * legs, steps)
        if leg == legs:  # the last frame of a walk that does not loop
            leg, rest = legs - 1, steps
        places.append(Place(leg, (leg + 1) % keyframes, rest / steps))
    return places
