"""One iteration: every due phase takes one optimizer step on the given micro-batches.

`iteration` is the stable entry point of benchmarks and tests; the loop around it is loop.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.feed import Atom
from components.training.fitting import on_all_ranks
from components.training.guard import find_nonfinite, gradient_norms, nonfinite_error
from components.training.seeds import generator
from components.training.state import TrainState
from models.interfaces import Batch, Losses, Phase, RunningStatistic
from models.losses.schedules import decayed


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one optimizer step gave, as means over the global batch.

    losses: "phase/term" -> mean. stats: "phase/name" -> mean. gradient_norm: over all parameters of
    the phase.
    skipped: the step was cancelled because something was not finite.
    """

    losses: dict[str, float]
    stats: dict[str, float]
    gradient_norm: float
    skipped: bool


def iteration(
    state: TrainState,
    atoms: Sequence[Atom],
    *,
    config: TrainConfig,
    seed: int,
    world: World,
    device: torch.device,
    last_state: str = "none",
) -> dict[str, StepResult]:
    """Run every phase that is due at `state.nimg` on this rank's micro-batches; leave nimg and EMA
    alone.

    Args:
        state: networks and optimizers, changed in place.
        atoms: (index within the global batch, micro-batch on `device`) of this rank.
        last_state: name of the newest saved state, for the error message.

    Raises:
        NonFiniteError: more than `config.max_nonfinite_skips` steps in a row of one phase were
            cancelled.
        OutOfMemory: memory ran out on any rank; weights and optimizers are those of an unfinished
            iteration.
    """
    results = {}
    for phase in state.phases:
        if (state.nimg // config.batch) % phase.every:
            continue
        world.mark(f"{phase.name} at nimg {state.nimg}")
        parameters = state.enable(phase)
        if not parameters:  # the phase begins later or has ended
            continue
        if phase.begin is not None:
            phase.begin(state.nimg)
        work = partial(_backward, state, phase, atoms, config=config, seed=seed, device=device)
        sums = on_all_ranks(work, world)
        state.scale_rate(phase, decayed(state.nimg, config.total_kimg, config.decay_kimg))
        results[phase.name] = _apply(
            state, phase, sums, world, config.max_nonfinite_skips, last_state
        )
    for parameter in state.parameters.values():
        parameter.grad = None
    return results


def _backward(
    state: TrainState,
    phase: Phase,
    atoms: Sequence[Atom],
    *,
    config: TrainConfig,
    seed: int,
    device: torch.device,
) -> dict[str, Tensor]:
    """Accumulate gradients over the micro-batches; return "loss|stat/name" -> sum / global batch,
    scalars.
    """
    sums: dict[str, Tensor] = {}
    for index, batch in atoms:
        if config.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        rng = generator(device, seed, "loss", state.nimg, phase.name, index)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            losses = phase.loss(batch, state.nimg, rng)
        _check_shapes(losses, batch, phase.name)
        # Divided by the GLOBAL batch: no weight depends on the micro-batch or on the number of
        # ranks.
        shares = {name: term.float().sum() / config.batch for name, term in losses.terms.items()}
        torch.stack(list(shares.values())).sum().backward()
        part = batch.size / config.batch
        for name, value in shares.items():
            sums[f"loss/{name}"] = sums.get(f"loss/{name}", 0.0) + value.detach()
        for name, value in losses.stats.items():
            sums[f"stat/{name}"] = (
                sums.get(f"stat/{name}", 0.0) + value.detach().float().mean() * part
            )
    return sums


@torch.no_grad()
def _apply(
    state: TrainState,
    phase: Phase,
    sums: dict[str, Tensor],
    world: World,
    max_skips: int,
    last_state: str,
) -> StepResult:
    """Sum over ranks, look once at every number, then step, or cancel on all ranks alike."""
    named = {name: p for name, p in state.parameters.items() if p.requires_grad}
    for parameter in named.values():
        if (
            parameter.grad is None
        ):  # unused by this loss: a zero, so that all ranks send the same buckets
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in named.values() if p.grad is not None]
    values = torch.stack(list(sums.values()))
    world.mark(f"{phase.name} at nimg {state.nimg}, sum over the ranks")
    world.sum_in_place([*gradients, values])

    # The one look: a single transfer of losses, stats and gradient norms, equal on all ranks.
    numbers = torch.cat([values, gradient_norms(gradients)]).tolist()
    norms = dict(zip(named, numbers[len(sums) :], strict=True))
    losses, stats = (_named(sums, numbers, kind, phase.name) for kind in ("loss", "stat"))
    terms, networks = find_nonfinite(losses, norms)
    skipped = bool(terms or networks)
    if not skipped:
        state.step(phase)
    _commit_statistics(state, world, keep=not skipped)
    streak = state.nonfinite_streak.get(phase.name, 0) + 1 if skipped else 0
    state.nonfinite_streak[phase.name] = streak
    state.nonfinite_total += skipped
    if streak > max_skips:
        raise nonfinite_error(phase.name, state.nimg, terms, networks, streak, last_state)
    norm = sum(value * value for value in norms.values()) ** 0.5
    return StepResult(losses=losses, stats=stats, gradient_norm=norm, skipped=skipped)


def _named(
    sums: dict[str, Tensor], numbers: list[float], kind: str, phase: str
) -> dict[str, float]:
    """Pick the means of one kind ("loss" or "stat") and name them "phase/name"."""
    pairs = zip(sums, numbers, strict=False)  # the gradient norms follow after them
    return {f"{phase}/{n[len(kind) + 1 :]}": v for n, v in pairs if n.startswith(f"{kind}/")}


def _commit_statistics(state: TrainState, world: World, keep: bool) -> None:
    """Let running statistics take in what this phase gathered; after a cancelled step, gather for
    nothing.
    """
    for module in state.statistics:
        before = {name: t.clone() for name, t in module.state_dict().items()}
        cast(RunningStatistic, module).commit(world.all_reduce_sum)
        if not keep:
            _restore(module, before)


def _restore(module: nn.Module, before: dict[str, Tensor]) -> None:
    for name, tensor in module.state_dict().items():
        tensor.copy_(before[name])


def _check_shapes(losses: Losses, batch: Batch, phase: str) -> None:
    """A term that is already a mean would silently be weighted by the micro-batch: refuse it."""
    for name, term in losses.terms.items():
        if term.shape != (batch.size,):
            raise ValueError(
                f"phase {phase}, loss {name}: wanted one value per sample [{batch.size}], "
                f"got {list(term.shape)}"
            )
