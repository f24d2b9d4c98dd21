"""The training loop of all stages: base, super-resolution, text encoder, adaptation.

It knows phases, never "G" or "D".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from components.errors import Interrupted
from components.training.collapse import act_on_signs
from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.ema import average, settle_statistics
from components.training.feed import BatchSource, Feed, atoms_of_rank
from components.training.guard import Signals
from components.training.state import TrainState
from components.training.stats import Ticker
from components.training.step import StepResult, iteration
from components.training.store import StateStore
from components.training.switches import compile_networks, lay_out
from models.interfaces import Networks, Recipe, Watching
from models.losses.schedules import ema_beta

__all__ = ["StepResult", "TrainResult", "iteration", "train"]

Record = dict[str, Any]
Report = Callable[[Record], None]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a finished run leaves in memory: `ema` is the model, `last` the last tick (empty:
    nothing was left to do), `nimg` the images that the model has seen, `best` its nimg and frechet
    where the weights of the lowest distance were kept (else empty), `session` the clock of this
    call (see Ticker).
    """

    ema: nn.Module
    networks: Networks
    nimg: int
    seconds: float
    resumed_from_nimg: int
    nonfinite_total: int
    last: Record = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    session: dict[str, float] = field(default_factory=dict)


def train(
    *,
    recipe: Recipe,
    networks: Networks,
    config: TrainConfig,
    seed: int,
    batches: BatchSource,
    state_store: StateStore | None,
    world: World,
    report: Report,
    device: torch.device | str,
    stop: Callable[[], bool] | None = None,
    sample: Callable[[nn.Module, int], None] | None = None,
    measure: Callable[[nn.Module], float] | None = None,
    look: Callable[[nn.Module], Record] | None = None,
) -> TrainResult:
    """Train `networks` until `config.total_kimg`; the same call again continues from the newest
    state.

    Args:
        recipe: the family, asked for its phases.
        networks: what `recipe.build` returned, equal or not on the ranks (rank 0's count).
        seed: with it, every sample, z, noise and augmentation is determined.
        batches: the stream of samples; position nimg is where an iteration begins.
        state_store: where resumable states live, only rank 0's is used; None keeps none.
        report: called on ALL ranks with the same records, in the same order: {"kind": "tick" |
            "saved" | "notice", "nimg", ...}.
        device: where this rank computes.
        stop: polled at every step edge; true on any rank ends the run as a signal does.
        sample: (averaged model, nimg) -> None, draws the fixed prompts; given on all ranks, called
            on rank 0.
        measure: averaged model -> distance, lower is better; given on all ranks, called on rank 0.
        look: averaged model -> spreads of its pictures (`collapse.Looker.look`); likewise.

    Raises:
        CollapseError: the model collapsed, and the run is to go back then.
        ConfigError: batch, micro_batch and number of ranks do not fit.
        Interrupted: SIGTERM, SIGINT or `stop`; the state is saved.
        NonFiniteError: too many cancelled steps in a row.
        OutOfMemory: memory ran out in an iteration, on any rank.
        ResourceError: the disk is too small, or three saves in a row failed.
        StorageError: a saved state belongs to another configuration or network.
    """
    # --- Build. Switches before the state, so that the averaged copy has the same memory order.
    device = torch.device(device)
    goal_nimg = math.ceil(config.total_kimg * 1000)
    indices = atoms_of_rank(config, world)
    lay_out(networks, config, device)
    watching = networks.watching
    stops = watching is not None and any(watching.stop_below.values())
    keeps_best = config.keep_weights == "best" or stops or config.collapse == "stop"
    state = TrainState.build(networks, recipe.phases(networks), keeps_best=keeps_best)

    # --- Load the newest state on rank 0; broadcast; check.
    saved_nimg = _resume(state, state_store, world)
    keeps_states = world.share(state_store is not None)
    resumed_from = max(saved_nimg, 0)
    if config.compile:
        compile_networks(networks, cuda_graphs=config.cuda_graphs)
    ticker = Ticker(config, state, device, world)
    settle = partial(
        settle_statistics,
        *(state.ema, batches),
        size=config.atom_size,
        seed=seed,
        world=world,
        device=device,
    )

    compares = getattr(recipe, "compares_captions", False)
    feeding = Feed(batches, indices, config, device, world.all_reduce_sum if compares else None)
    with Signals(stop) as signals, feeding as feed:
        while state.nimg < goal_nimg and not state.stopped:
            # --- Batch, and one optimizer step of every due phase.
            ticker.start()
            world.mark(f"batch at nimg {state.nimg}")
            atoms = feed.take(state.nimg)
            results = iteration(
                state,
                atoms,
                config=config,
                seed=seed,
                world=world,
                device=device,
                last_state=f"nimg {saved_nimg}" if saved_nimg >= 0 else "none",
            )

            # --- EMA, clock.
            beta = ema_beta(
                state.nimg, config.batch, config.ema_half_life_kimg, config.ema_ramp or None
            )
            average(state.ema, state.model, beta, state.stepped())
            before, state.nimg = state.nimg, state.nimg + config.batch
            ticker.stop(results)
            done = state.nimg >= goal_nimg

            # --- Measure, report, sample.
            distances = {}
            measure_due = measure and _due(config.measure_every_kimg, before, state.nimg, done)
            watch_due = watching and _due(watching.every_kimg, before, state.nimg, done)
            sample_due = sample and _sample_due(before, state.nimg, done, config)
            look_due = look and _due(config.look_every_kimg, before, state.nimg, done)
            # The averaged model is looked at, or left.
            if done or measure_due or watch_due or sample_due or look_due:
                settle()
            if measure and measure_due:
                distances = _measure(state, measure, world, report)
            if watching and watch_due:
                distances |= _watch(state, watching, world)
            if look and look_due:
                distances |= world.first(partial(look, state.ema))
            done = done or state.stopped
            if done or distances or crossed(before, state.nimg, config.report_every_kimg):
                report(ticker.tick(goal_nimg, distances))
            if distances and look:
                act_on_signs(state, ticker.last, config, goal_nimg, world, report)
                done = done or state.stopped
            if sample and sample_due and world.rank == 0:
                sample(state.ema, state.nimg)

            # --- Save; stop if told to.
            interrupted = world.any(bool(signals))
            if done or interrupted or crossed(before, state.nimg, config.save_every_kimg):
                if keeps_states and _save(state, state_store, world):
                    saved_nimg = state.nimg
                report({"kind": "saved", "nimg": state.nimg, "saved_nimg": saved_nimg})
            if interrupted and not done:
                raise Interrupted(
                    f"stopped by {signals.received or 'another worker'} at nimg {state.nimg}",
                    "training",
                    f"run the same command to continue from nimg {max(saved_nimg, 0)}",
                )
    state.restore_best()
    best = state.best if keeps_best else {}
    return TrainResult(
        ema=state.ema,
        networks=networks,
        nimg=int(best.get("nimg", state.nimg)),
        seconds=state.seconds,
        resumed_from_nimg=resumed_from,
        nonfinite_total=state.nonfinite_total,
        last=ticker.last,
        best=best,
        session=ticker.session,
    )


def crossed(before: int, now: int, every_kimg: float) -> bool:
    """Return whether a multiple of every_kimg lies in (before, now]; 0 = never. A function of nimg
    alone.
    """
    every = every_kimg * 1000
    return every > 0 and math.floor(now / every) > math.floor(before / every)


def _sample_due(before: int, now: int, done: bool, config: TrainConfig) -> bool:
    if config.sample_every_kimg <= 0:
        return False
    return done or before == 0 or crossed(before, now, config.sample_every_kimg)


def _due(every_kimg: float, before: int, now: int, done: bool) -> bool:
    return every_kimg > 0 and (done or crossed(before, now, every_kimg))


def _watch(state: TrainState, watching: Watching, world: World) -> dict[str, float]:
    """Watch the averaged model on rank 0, keep its weights while all is well."""
    found = world.first(lambda: watching.measure(state.ema))
    state.watched(found, watching.stop_below)
    return {f"watch/{name}": value for name, value in found.items()}


def _measure(
    state: TrainState, measure: Callable[[nn.Module], float], world: World, report: Report
) -> dict[str, float]:
    """Measure the averaged model on rank 0, take the result in on all; return the metrics.

    A measurement that fails or is not finite is told and left out; the training goes on.
    """

    def attempt() -> tuple[float, str]:
        try:
            frechet = measure(state.ema)
        except Exception as error:
            return math.nan, " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return frechet, "" if math.isfinite(frechet) else f"the distance is {frechet}"

    world.mark(f"measure at nimg {state.nimg}")
    frechet, problem = world.first(attempt)
    if problem:
        text = f"warning: not measured at nimg {state.nimg} ({problem}); training goes on"
        report({"kind": "notice", "nimg": state.nimg, "text": text})
        return {}
    state.measured(frechet)
    return {
        "measure/frechet": frechet,
        "measure/best_frechet": state.best["frechet"],
        "measure/best_kimg": state.best["nimg"] / 1000,
    }


def _resume(state: TrainState, store: StateStore | None, world: World) -> int:
    """Load the newest state on rank 0 and give it to all ranks; return its nimg, -1 if there was
    none.
    """

    def load() -> tuple[bool, dict[str, list[str]]]:
        if store is None:
            return False, {}
        saved = store.newest()
        if saved is None:
            store.preflight(state.tensors())
            return False, {}
        state.load(saved.tensors, saved.facts)
        return True, state.stepped_names()

    found, stepped = world.first(load)
    facts = world.share(state.facts())
    if found and world.rank > 0:
        state.expect(facts, stepped)
    tensors = state.tensors()
    world.broadcast(tensors.values())
    world.assert_equal(tensors, "weights")
    return state.nimg if found else -1


def _save(state: TrainState, store: StateStore | None, world: World) -> bool:
    """Write the state on rank 0 after checking that all ranks hold the same one."""
    world.mark(f"save at nimg {state.nimg}")
    tensors = state.tensors()
    world.assert_equal(tensors, "weights")
    return world.first(lambda: store is not None and store.save(tensors, state.facts()))
