"""Run one training stage from paths alone, for Ray's workers, torchrun and `python -m`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import CollapseError, ConfigError, NonFiniteError, StorageError
from components.training.detours import detours_of, seed_after, turn
from components.training.job import TrainingJob
from components.training.run_log import Record, RunLog

if TYPE_CHECKING:
    import torch

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
    rank 0.

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
    from components.training.collapse import Looker
    from components.training.loop import train
    from components.training.site import build_site, sampler, yardstick

    config = job.config()
    run_dir = Path(job.run_dir)
    log = RunLog(run_dir / "metrics.jsonl")
    if world.first(lambda: _is_finished(job)):
        return _summary(job, log, cached=True)

    with _locked(job, world):
        recipe, site, batches = build_site(job, config)
        measured = yardstick(job, config, device, shrink := getattr(recipe, "shrinks", 1))
        # A picture enlarged differs little from seed to seed: that is no collapse.
        looks = config.collapse != "off" and config.look_every_kimg > 0 and shrink == 1
        looker = Looker.of(batches, job.seed) if looks else None
        told, result = _noted(log, world, report), None
        while result is None:
            seed = seed_after(job.seed, len(world.first(lambda: detours_of(run_dir))))
            if seed != job.seed:
                _, _, batches = build_site(dataclasses.replace(job, seed=seed), config)
            networks = build_networks(job, recipe, site)
            beside = networks.frozen.get("original")
            draw = sampler(job, config, site, batches, run_dir / "samples", beside)
            try:
                result = train(
                    recipe=recipe,
                    networks=networks,
                    config=config,
                    seed=seed,
                    batches=batches,
                    state_store=_store(job, config),
                    world=world,
                    report=told,
                    device=device,
                    stop=stop,
                    sample=draw,
                    measure=measured.distance if measured else None,
                    look=looker.look if looker else None,
                )
            except NonFiniteError as error:
                _go_back(job, config, world, log, told, error)
        if world.rank == 0:
            card = measured.card() if measured else {}
            best = {**result.best, **card} if result.best else {}
            samples = draw(result.ema, result.nimg)
            _write(job, config, recipe, site, batches, result, log, best, samples)
        world.barrier()
    session = {**result.session, "ended": time.time()} if result.session else {}
    return {
        **_summary(job, log, cached=False, resumed_from_nimg=result.resumed_from_nimg),
        "session": session,
    }


def _go_back(
    job: TrainingJob,
    config: TrainConfig,
    world: World,
    log: RunLog,
    report: Callable[[Record], None],
    error: NonFiniteError,
) -> None:
    """Turn to another order of the data from the last state; raise the error if there is none, or
    the run has turned too often.
    """
    store = _store(job, config)
    if isinstance(error, CollapseError):
        world.first(lambda: _drop_spoiled(store, Path(job.run_dir)))
    state = world.first(store.last_name)
    run_dir, most = Path(job.run_dir), config.max_rollbacks
    if not world.first(lambda: turn(run_dir, most, state, error)):
        raise error
    log.go_back()
    text = f"warning: {error.what} ({error.where}): back to {state}, on with other data"
    nimg = int(state.removeprefix("nimg-")) + 1  # the state's own lines stay
    report({"kind": "notice", "nimg": nimg, "text": text})


def _drop_spoiled(store: StateStore, run_dir: Path) -> None:
    """Remove the newest state when the model has collapsed from it before, and there is an older
    one.
    """
    turns = detours_of(run_dir)
    if turns and turns[-1]["from"] == store.last_name():
        store.drop_newest()


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


def _store(job: TrainingJob, config: TrainConfig) -> StateStore:
    """Return where the run's states live."""
    from components.training.store import StateStore

    return StateStore(
        folder=Path(job.run_dir) / "states",
        keep=config.keep_states,
        fingerprint=job.fingerprint,
        code_version=job.code_version,
        say=say,
        fallback=job.fallback,
    )


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
        metrics={**log.last_tick(), "seconds": round(result.seconds, 1)},
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
