"""The parts of a StyleGAN-T iteration, and the ways to run each (timed by stylegan_t.py)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.plain import plain_layers
from benchmarks.stylegan_t_setup import Mode, Setup
from components.training.distributed import World
from components.training.ema import average
from components.training.step import iteration
from models.interfaces import Networks
from models.stylegan_t import losses as stylegan_t_losses

_WARM_UP = 1


PLAIN = Mode(name="textbook fp32", plain=True, channels_last=False)
CACHED = (
    Mode(name="ours fp32, weights cached", cached=True),
    Mode(name="ours bf16, weights cached", precision="bf16", cached=True),
)
MODES = (
    PLAIN,
    Mode(name="ours fp32, NCHW", channels_last=False),
    Mode(name="ours fp32"),
    Mode(name="ours bf16", precision="bf16"),
)


@dataclass(kw_only=True)
class Case:
    """A part in one mode, ready to run."""

    name: str
    run: Callable[[], None]
    device: str

    def seconds(self) -> float:
        """Return the wall time of one run."""
        self._wait()
        started = time.perf_counter()
        self.run()
        self._wait()
        return time.perf_counter() - started

    def peak_gib(self) -> float | None:
        """Warm up; return the device memory that a run takes at most, None without a GPU."""
        for _ in range(_WARM_UP):
            self.run()
        if not self.device.startswith("cuda"):
            return None
        torch.cuda.reset_peak_memory_stats()
        self.run()
        self._wait()
        return round(torch.cuda.max_memory_allocated() / 2**30, 3)

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


@dataclass(kw_only=True)
class Part:
    """Something worth timing: mode -> function to run; `images` are made or seen by one run."""

    name: str
    images: int
    setup: Setup
    make: Callable[[Mode], Callable[[], None]]
    modes: tuple[Mode, ...] = MODES
    trains: bool = True


def cases_of(part: Part, *, compiled: bool, checkpointed: bool) -> list[Case]:
    """Return the part's cases, the textbook form first."""
    modes = list(part.modes)
    if compiled:
        modes.append(replace(modes[-1], name=f"{modes[-1].name}, compiled", compiled=True))
    if checkpointed and part.trains:
        modes.append(Mode(name="ours bf16, checkpointed", precision="bf16", checkpointed=True))
    device = part.setup.device
    return [Case(name=mode.name, run=part.make(mode), device=device) for mode in modes]


def parts_of(setup: Setup, only: Sequence[str] | None) -> Iterator[Part]:
    """Yield the parts, or those whose name holds one of `only`."""
    b = setup.batch
    parts = [
        Part(name="generator forward, batch 1", images=1, make=_forward(setup, 1), trains=False,
             modes=(*MODES, *CACHED), setup=setup),
        Part(name=f"generator forward, batch {b}", images=b, make=_forward(setup, b),
             trains=False, modes=(*MODES, *CACHED), setup=setup),
        Part(name=f"generator forward + backward, batch {b}", images=b, make=_both(setup, b),
             setup=setup),
        Part(name=f"discriminator step, batch {b}", images=b, make=_judge(setup, b), setup=setup),
        Part(name=f"iteration without guidance, batch {b}", images=b,
             make=_iteration(setup, b, guided=False), setup=setup),
    ]  # fmt: skip
    if setup.guidance != "none":
        part = _iteration(setup, b, guided=True)
        parts.append(Part(name=f"iteration with guidance, batch {b}", images=b, make=part,
                          setup=setup))  # fmt: skip
    for part in parts:
        if not only or any(word in part.name for word in only):
            yield part


@contextlib.contextmanager
def _in_mode(setup: Setup, mode: Mode, networks: Networks) -> Iterator[None]:
    for module in networks.trained["generator"].modules():
        if hasattr(module, "checkpoint_activations"):
            module.checkpoint_activations = mode.checkpointed
    kind = torch.device(setup.device).type
    with contextlib.ExitStack() as stack:
        if mode.plain:
            stack.enter_context(plain_layers())
        stack.enter_context(torch.autocast(kind, torch.bfloat16, enabled=mode.precision == "bf16"))
        yield


def _forward(setup: Setup, n: int) -> Callable[[Mode], Callable[[], None]]:
    def make(mode: Mode) -> Callable[[], None]:
        def run() -> None:
            networks, condition = setup.state(mode).networks, setup.data(n).condition
            generator: Any = setup.fast(mode) if mode.cached else networks.trained["generator"]
            z = torch.zeros(n, generator.z_dim, device=setup.device).fill_(0.5)
            # The fast form has cast its weights itself: autocast would cast again, every time.
            eager = replace(mode, precision="fp32") if mode.cached else mode
            with torch.inference_mode(), _in_mode(setup, eager, networks):
                generator.synthesize(generator.map(z, condition), condition)

        return run

    return make


def _both(setup: Setup, n: int) -> Callable[[Mode], Callable[[], None]]:
    def make(mode: Mode) -> Callable[[], None]:
        def run() -> None:
            networks, condition = setup.state(mode).networks, setup.data(n).condition
            generator: Any = networks.trained["generator"].requires_grad_(True)
            z = torch.zeros(n, generator.z_dim, device=setup.device).fill_(0.5)
            with _in_mode(setup, mode, networks):
                image = generator.synthesize(generator.map(z, condition), condition)
            image.square().mean().backward()
            generator.zero_grad()

        return run

    return make


def _judge(setup: Setup, n: int) -> Callable[[Mode], Callable[[], None]]:
    """The discriminator's phase, its fakes given."""

    def make(mode: Mode) -> Callable[[], None]:
        def run() -> None:
            state, batch = setup.state(mode), setup.data(n)
            phase = state.phases[0]
            state.enable(phase)
            fake = torch.zeros_like(batch.image_NCHW)
            rng = torch.Generator(setup.device).manual_seed(0)

            def given(*_: Any) -> Tensor:
                return fake

            with mock.patch.object(stylegan_t_losses, "_generate", given):
                with _in_mode(setup, mode, state.networks):
                    losses = phase.loss(batch, 0, rng)
                torch.stack([term.sum() for term in losses.terms.values()]).sum().backward()

        return run

    return make


def _iteration(setup: Setup, n: int, *, guided: bool) -> Callable[[Mode], Callable[[], None]]:
    """Both phases with their optimizer steps, and the average of the weights."""

    def make(mode: Mode) -> Callable[[], None]:
        def run() -> None:
            state = setup.state(mode, guided)
            config = setup.config(mode)
            context = plain_layers() if mode.plain else contextlib.nullcontext()
            with context:
                iteration(
                    state,
                    [(0, setup.data(n))],
                    config=config,
                    seed=0,
                    world=World(),
                    device=torch.device(setup.device),
                )
            average(state.ema, state.model, 0.99, state.stepped())

        return run

    return make
