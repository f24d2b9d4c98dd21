"""Notice that a training has collapsed: by a few pictures of the averaged model, and by its losses.

Every look draws the same conditions with the same noise, and compares spreads with the largest that
this run has shown, so no threshold depends on the data. What is judged, in words:

    constant              all pictures are the same
    prompt-blind          another prompt (or class) changes nothing
    seed-blind            another seed changes nothing
    discriminator perfect the real and the generated are told apart always: nothing is left to learn
    distance              three times the best one measured

Legend: K conditions, S seeds, D numbers of a small picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from components.errors import CollapseError
from components.sampling import device_of, from_uint8, generate_from
from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.healthy import (
    ADVERSARIAL,
    FAINT,
    FAKE_SIGN,
    LOST,
    NOTHING_LEFT,
    REAL_SIGN,
    SURE,
    WORSE,
)
from components.training.seeds import derived_seed
from components.training.state import TrainState
from models.interfaces import Condition

CONDITIONS, SEEDS, SIDE_PX = 8, 4, 16
AMONG = 64  # samples from which different conditions are taken
# What a model that was never trained may not show yet is not held against it so early.
GRACE = 0.25  # of the training
SPREADS = {
    "look/spread": "all pictures are the same",
    "look/prompt": "another prompt or class changes nothing",
    "look/seed": "another seed changes nothing",
}


@dataclass(frozen=True, kw_only=True)
class Looker:
    """Draws what is looked at.

    Attributes:
        condition: of K * S rows, each condition S times in a row.
        conditions: K; 1 where there is nothing to ask with, or all samples ask for the same.
        seeds: one per row; the same S for each condition.
    """

    condition: Condition
    conditions: int
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, batches: Any, seed: int) -> Looker:
        """Return what draws conditions of the first samples of a stream.

        Args:
            batches: a BatchSource, or what stands for one.
            seed: of the run.
        """
        rows = batches.atom(0, AMONG).condition
        chosen = _different(rows)
        count = len(chosen)
        each = SEEDS if count > 1 else CONDITIONS * SEEDS
        of_seeds = [derived_seed(seed, "look", micro_batch=i) for i in range(each)]
        where = torch.tensor(chosen or [0]).repeat_interleave(each)
        return cls(
            condition=rows[where], conditions=max(count, 1), seeds=(*(of_seeds * max(count, 1)),)
        )

    def look(self, model: Any) -> dict[str, float]:
        """Return the spreads of a Generator's pictures, root mean squares in units of [-1, 1].

        Returns:
            "look/spread" over all; "look/seed" between seeds of a condition; "look/prompt" between
            conditions of a seed, where there is more than one.
        """
        condition = self.condition.to(device_of(model))
        images = from_uint8(generate_from(model, condition, self.seeds))
        small = F.adaptive_avg_pool2d(images, min(SIDE_PX, images.shape[-1])).flatten(1)
        return spreads(small.view(self.conditions, -1, small.shape[1]))


def spreads(picture_KSD: Tensor) -> dict[str, float]:
    """Return the spreads that `Looker.look` names; a seed or a condition that changes nothing gives
    exactly 0.
    """
    found = {
        "look/spread": picture_KSD.flatten(0, 1).var(dim=0, correction=0),
        "look/seed": picture_KSD.var(dim=1, correction=0),
    }
    if picture_KSD.shape[0] > 1:
        found["look/prompt"] = picture_KSD.var(dim=0, correction=0)
    return {name: float(variance.mean().sqrt()) for name, variance in found.items()}


def judge(
    record: Mapping[str, Any], largest: Mapping[str, float], *, progress: float
) -> dict[str, str]:
    """Return sign -> what it says in words, {} for a healthy model.

    Args:
        record: of a tick: spreads, losses, statistics and distances, those that there are.
        largest: the largest spreads that this run has shown.
        progress: how much of the training is done, 0 to 1.
    """
    found = {}
    for name, words in SPREADS.items():
        if name not in record:
            continue
        value, before = record[name], largest.get(name, 0.0)
        shown = before > FAINT and value < LOST * before
        if shown or (value < FAINT and progress >= GRACE):
            found[name] = f"{words} ({name.removeprefix('look/')} {value:.4f}, was {before:.4f})"
    if "look/spread" in found:  # then the others say the same
        found = {"look/spread": found["look/spread"]}
    if _is_perfect(record):
        found["discriminator"] = "the discriminator is never wrong, so nothing is left to learn"
    frechet, best = record.get("measure/frechet"), record.get("measure/best_frechet", 0.0)
    if frechet is not None and frechet > WORSE * best > 0:
        found["distance"] = f"the distance is {frechet:.1f}, its best was {best:.1f}"
    return found


def grown(largest: Mapping[str, float], record: Mapping[str, Any]) -> dict[str, float]:
    """Return the largest spreads after one more look."""
    return {name: max(largest.get(name, 0.0), x) for name, x in spread_of(record).items()}


def spread_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the spreads in a record, {} where nobody looked."""
    return {name: record[name] for name in SPREADS if name in record}


def act_on_signs(
    state: TrainState,
    record: Mapping[str, Any],
    config: TrainConfig,
    goal_nimg: int,
    world: World,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Act on the signs of collapse in the last record, the same way on all ranks.

    Raises:
        CollapseError: there is one, and the run is to go back.
    """
    progress = state.nimg / max(goal_nimg, 1)
    signs = world.first(lambda: judge(record, state.looks, progress=progress))
    state.looks |= grown(state.looks, record)
    if not signs:
        if config.collapse == "stop" and config.keep_weights == "last" and spread_of(record):
            state.keep(spread_of(record))
        return
    what = "; ".join(signs.values())
    if config.collapse == "rollback":
        todo = "lower the learning rates, give more data, or start from an earlier artifact"
        raise CollapseError(f"the model has collapsed: {what}", f"nimg {state.nimg}", todo)
    if config.collapse == "stop":
        state.end()
    then = "the stage ends" if config.collapse == "stop" else "training goes on"
    text = f"warning: a sign of collapse at nimg {state.nimg}: {what}; {then}"
    report({"kind": "notice", "nimg": state.nimg, "text": text})


def _is_perfect(record: Mapping[str, Any]) -> bool:
    real = record.get(REAL_SIGN)
    fake = record.get(FAKE_SIGN)
    if real is not None and fake is not None:
        return bool(real > SURE and fake < -SURE)
    loss = record.get(ADVERSARIAL)
    return loss is not None and loss < NOTHING_LEFT


def _different(rows: Condition) -> list[int]:
    """Return the first rows of CONDITIONS different conditions; [] where nothing is asked with."""
    asked = next((x for x in (rows.pooled_ND, rows.ids_NT, rows.label_N) if x is not None), None)
    if asked is None:
        return []
    first: dict[bytes, int] = {}
    for row, value in enumerate(asked.cpu().numpy()):
        first.setdefault(value.tobytes(), row)
    return list(first.values())[:CONDITIONS]
