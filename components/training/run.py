"""Run one training stage from paths alone, for Ray's workers, torchrun and `python -m`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError, NonFiniteError, OutOfMemory, StorageError
from components.training.detours import detours_of, go_back, seed_after
from components.training.far_run import FarRun, kept_far, with_inputs
from components.training.fitting import go_on_smaller, settled
from components.training.job import TrainingJob
from components.training.run_log import Record, RunLog

if TYPE_CHECKING:
    import torch

    from components.training.collapse import Looker
    from components.training.config import TrainConfig
    from components.training.distributed import World
    from components.training.loop import TrainResult
    from components.training.store import StateStore
    from models.interfaces import Networks, Recipe, Site

say = logging.getLogger("ganline.training").warning


def run_job(
    job: TrainingJob,
    world: World,
    report: Callable[[Record], None],
    device: torch.device | str,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Build all from the job's paths, resume from its run folder, train, write run_dir/artifact on
    rank 0. Where the run is kept in a store, inputs are fetched first, and the rest is sent there.

    Args:
        job: what to do.
        world: this process' place among the ranks.
        report: called with every tick, on all ranks alike.
        device: where this rank computes.
        stop: polled at every step edge; true ends the run as SIGTERM does.

    Returns:
        {"artifact": path, "nimg", "seconds", "images_per_s", "resumed_from_nimg", "cached",
        "metrics": last tick, "session": {"first_step", "ended": since the epoch, "learning": s},
        {} when there was nothing to train}.

    Raises:
        GanlineError: every kind; see loop.train.
    """
    from components.training.site import build_site

    asked, job = job.config(), with_inputs(job.here(), world)
    run_dir = Path(job.run_dir)
    log = RunLog(run_dir / "metrics.jsonl")
    if world.first(lambda: _is_finished(job)):
        if job.kept_in:
            world.first(FarRun(job.kept_in, run_dir).send_artifact)
        return _summary(job, log, cached=True)

    with _locked(job, world), kept_far(job, world, say) as far:
        recipe, site, batches = build_site(job, asked)
        looker = _looker(asked, recipe, batches, job.seed)
        told, groups, result = _noted(log, world, report), getattr(recipe, "norm_batch", 0), None
        states = partial(_store, job, far=far)
        run = partial(_attempt, job, recipe, site, looker, world, log, told, device, stop, states)
        while result is None:
            config = settled(asked, run_dir, groups, world)
            seed = seed_after(job.seed, len(world.first(lambda: detours_of(run_dir))))
            if seed != job.seed:
                _, _, batches = build_site(dataclasses.replace(job, seed=seed), config)
            try:
                result = run(config, batches, seed)
            except NonFiniteError as error:
                go_back(states(config), run_dir, config, world, log, told, error)
            except (OutOfMemory, MemoryError, RuntimeError) as error:
                state = states(config).last_name
                if not go_on_smaller(
                    run_dir, asked, config, groups, world, state, error, told, log
                ):
                    raise
    session = {**result.session, "ended": time.time()} if result.session else {}
    summary = _summary(job, log, cached=False, resumed_from_nimg=result.resumed_from_nimg)
    return summary | {"session": session}


def _looker(config: TrainConfig, recipe: Recipe, batches: Any, seed: int) -> Looker | None:
    """Return what looks for a collapse; None where it is not asked for, or says nothing."""
    from components.training.collapse import Looker

    # A picture enlarged differs little from seed to seed: that is no collapse.
    looks = config.collapse != "off" and config.look_every_kimg > 0 and _shrinks(recipe) == 1
    return Looker.of(batches, seed) if looks else None


def _shrinks(recipe: Recipe) -> int:
    """Return by how much the pictures are shrunk that the model enlarges; 1 for one that draws."""
    return getattr(recipe, "shrinks", 1)


def _attempt(
    job: TrainingJob,
    recipe: Recipe,
    site: Site,
    looker: Looker | None,
    world: World,
    log: RunLog,
    report: Callable[[Record], None],
    device: torch.device | str,
    stop: Callable[[], bool] | None,
    states: Callable[[TrainConfig], StateStore],
    config: TrainConfig,
    batches: Any,
    seed: int,
) -> TrainResult:
    """Build the networks, train from the last state to the end, write the artifact on rank 0."""
    from components.training.loop import train
    from components.training.site import sampler, yardstick

    measured = yardstick(job, config, device, _shrinks(recipe))
    networks = build_networks(job, recipe, site)
    beside = networks.frozen.get("original")
    draw = sampler(job, config, site, batches, Path(job.run_dir) / "samples", beside)
    result = train(
        recipe=recipe,
        networks=networks,
        config=config,
        seed=seed,
        batches=batches,
        state_store=states(config),
        world=world,
        report=report,
        device=device,
        stop=stop,
        sample=draw,
        measure=measured.distance if measured else None,
        look=looker.look if looker else None,
    )
    if world.rank == 0:
        card = measured.card() if measured else {}
        best = {**result.best, **card} if result.best else {}
        samples = draw(result.ema, result.nimg)
        _write(job, config, recipe, site, batches, result, log, best, samples)
    world.barrier()
    return result


def _is_finished(job: TrainingJob) -> bool:
    """Return whether the run folder holds the whole artifact of this very job."""
    from components.artifacts.artifact import read_card

    folder = Path(job.run_dir) / "artifact"
    if not folder.exists():
        return False
    try:
        card = read_card(folder)
    except StorageError as error:
        say(f"{error}; training goes on from the last state")
        return False
    return bool(card.get("fingerprint") == job.fingerprint and card["seed"] == job.seed)


@contextlib.contextmanager
def _locked(job: TrainingJob, world: World) -> Iterator[None]:
    """Hold the run folder's lock on rank 0; when it is taken, all ranks end with the same error."""
    from components.training.lock import RunLock

    lock = RunLock(Path(job.run_dir), token=job.owner)
    world.first(lock.acquire)
    try:
        yield
    finally:
        if world.rank == 0:
            lock.release()


def _noted(log: RunLog, world: World, report: Callable[[Record], None]) -> Callable[[Record], None]:
    """Return what passes a line on, and on rank 0 adds it to the run's log first."""

    def record(line: Record) -> None:
        if world.rank == 0:
            log.add(line)
        report(line)

    return record


def _store(job: TrainingJob, config: TrainConfig, far: FarRun | None) -> StateStore:
    """Return where the run's states live."""
    from components.training.far_states import FarStateStore
    from components.training.store import StateStore

    facts: dict[str, Any] = {
        "folder": Path(job.run_dir) / "states",
        "keep": config.keep_states,
        "fingerprint": job.fingerprint,
        "code_version": job.code_version,
        "say": say,
        "fallback": job.fallback,
    }
    if far is None:
        return StateStore(**facts)
    return FarStateStore(place=far.place, before=far.send, **facts)


def build_networks(job: TrainingJob, recipe: Recipe, site: Site) -> Networks:
    """Build the networks from the run's seed; ConfigError where recipe and site do not fit."""
    import torch

    from components.training.seeds import derived_seed

    torch.manual_seed(derived_seed(job.seed, "build"))
    try:
        return recipe.build(site)
    except ValueError as error:
        where = f"{job.stage}, recipe {recipe.name}"
        raise ConfigError(str(error), where, "correct it") from error


def _write(
    job: TrainingJob,
    config: TrainConfig,
    recipe: Recipe,
    site: Site,
    batches: Any,
    result: TrainResult,
    log: RunLog,
    best: dict[str, Any],
    samples: Any,
) -> None:
    from components.artifacts.artifact import GENERATOR, write_artifact
    from components.artifacts.frozen_nets import encoder_hashes
    from models.text_to_image import AlignedGenerator

    networks = {**result.networks.frozen, **result.networks.trained}
    discriminator, model = networks.get("discriminator"), result.ema
    text_encoder = model.text_encoder if isinstance(model, AlignedGenerator) else None
    generator = model.generator if isinstance(model, AlignedGenerator) else model
    found = {"micro_batch": config.micro_batch} if job.config().micro_batch == "auto" else {}
    write_artifact(
        Path(job.run_dir) / "artifact",
        recipe=recipe,
        resolution=config.resolution_px,
        shape=site.shape,
        generator_state=generator.state_dict(),
        nimg=result.nimg,
        seed=job.seed,
        parent_sha256=site.start.card["files"][GENERATOR] if site.start else "",
        data_content_hash=getattr(batches, "content_hash", ""),
        encoders=encoder_hashes(Path(job.encoders_dir), recipe.encoder_roles),
        fingerprint=job.fingerprint,
        discriminator_state=discriminator.state_dict() if discriminator is not None else None,
        text_encoder=text_encoder,
        label_names=getattr(batches, "label_names", ()),
        best=best,
        samples=samples,
        metrics={**log.last_tick(), "seconds": round(result.seconds, 1), **found},
    )


def _summary(
    job: TrainingJob, log: RunLog, *, cached: bool, resumed_from_nimg: int = 0
) -> dict[str, Any]:
    tick = log.last_tick()
    return {
        "artifact": str(Path(job.run_dir) / "artifact"),
        "nimg": tick.get("nimg", 0),
        "seconds": tick.get("seconds", 0.0),
        "images_per_s": tick.get("nimg", 0) / max(tick.get("seconds", 0.0), 1e-9),
        "resumed_from_nimg": resumed_from_nimg,
        "cached": cached,
        "metrics": tick,
        "session": {},
    }
