"""The parts of a StyleGAN-T iteration, and the ways to run each (timed by stylegan_t.py)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.plain import plain_layers
from components.training.config import TrainConfig
from components.training.distributed import World
from components.training.ema import average
from components.training.state import TrainState
from components.training.step import iteration
from components.training.switches import compile_networks, lay_out
from models.features import ClipNet, VitNet
from models.interfaces import Batch, Condition, ConditionShape, Networks, Site
from models.recipes.stylegan_t import StyleGANT

# Widths and depth of the published presets; tiny is for a look at the tool itself.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"channel_base": 1024, "channel_max": 32, "num_res_blocks": 1, "group_norm_groups": 8},
    "lite": {"channel_base": 32768, "channel_max": 512, "num_res_blocks": 2},
    "full": {"channel_base": 65536, "channel_max": 2048, "num_res_blocks": 3},
}
_CLIP_MEAN, _CLIP_STD = [0.4815, 0.4578, 0.4082], [0.2686, 0.2613, 0.2758]
_VIT_MEAN, _VIT_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_WARM_UP = 1


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to run a part; the first of a part is what the others are compared with."""

    name: str
    plain: bool = False
    channels_last: bool = True
    precision: str = "fp32"
    compiled: bool = False
    checkpointed: bool = False
    cached: bool = False


PLAIN = Mode(name="textbook fp32", plain=True, channels_last=False)
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


@dataclass(kw_only=True)
class Setup:
    """Networks at full size with random weights, and one fixed batch."""

    preset: str
    resolution: int
    batch: int
    guidance: str
    device: str
    _states: dict[tuple[bool, bool, bool], TrainState] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return what was asked for."""
        names = ("preset", "resolution", "batch", "guidance", "device")
        return {name: value for name, value in asdict(replace(self)).items() if name in names}

    def recipe(self, guided: bool = False) -> StyleGANT:
        """Return the family with the preset's fields."""
        weight = 1.6 if guided else 0.0
        return StyleGANT(**PRESETS[self.preset], clip_weight=weight, blur_init_sigma_px=0.0)

    @cached_property
    def clip(self) -> ClipNet:
        """The guiding CLIP, weights random."""
        import open_clip

        config = open_clip.get_model_config(self.guidance)
        names = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
        architecture = {name: config.get(name, False) for name in names}
        architecture["tokenizer"] = {"kind": "open_clip", "context_length": 77}
        size = config["vision_cfg"]["image_size"]
        return ClipNet.build(architecture, image_size_px=size, mean=_CLIP_MEAN, std=_CLIP_STD)

    @cached_property
    def dino(self) -> VitNet:
        """DINO's ViT-S/16, weights random."""
        arguments: dict[str, Any] = {"num_classes": 0}
        if self.preset == "tiny":
            arguments |= {"depth": 4, "embed_dim": 48, "num_heads": 2}
        name = "vit_small_patch16_224.dino"
        architecture = {"name": name, "arguments": arguments, "hooks": None}
        return VitNet.build(architecture, image_size_px=224, mean=_VIT_MEAN, std=_VIT_STD)

    @cached_property
    def shape(self) -> ConditionShape:
        """Width of the text embedding: the guiding net's, ViT-L/14's unless guidance is timed."""
        return ConditionShape(
            pooled_dim=768 if self.guidance == "none" else self.clip.embedding_dim
        )

    def data(self, n: int) -> Batch:
        """Return n random images with random unit text embeddings."""
        rng = torch.Generator().manual_seed(0)
        text = torch.randn(n, self.shape.pooled_dim, generator=rng)
        image = torch.rand(n, 3, self.resolution, self.resolution, generator=rng) * 2 - 1
        condition = Condition(pooled_ND=nn.functional.normalize(text, dim=1))
        return Batch(size=n, image_NCHW=image, condition=condition).to(self.device)

    def state(self, mode: Mode, guided: bool = False) -> TrainState:
        """Return networks and optimizers in the mode's memory order, built once for each."""
        key = (mode.channels_last, guided, mode.compiled)
        if key not in self._states:
            # Guided or not are never timed together; the full preset takes 20 GiB each.
            self._states = {k: state for k, state in self._states.items() if k[1] == guided}
            torch.manual_seed(0)
            recipe = self.recipe(guided)
            encoders: dict[str, Any] = {"dino": self.dino}
            if guided:
                encoders["clip"] = self.clip
            site = Site(resolution=self.resolution, shape=self.shape, encoder=encoders.__getitem__)
            networks = recipe.build(site)
            lay_out(networks, self.config(mode), torch.device(self.device))
            self._states[key] = TrainState.build(networks, recipe.phases(networks))
            if mode.compiled:
                compile_networks(networks)
        return self._states[key]

    def config(self, mode: Mode) -> TrainConfig:
        """Return the loop's switches of a mode."""
        return TrainConfig(
            resolution_px=self.resolution,
            total_kimg=1.0,
            batch=self.batch,
            micro_batch=self.batch,
            ema_half_life_kimg=10.0,
            precision="bf16" if mode.precision == "bf16" else "fp32",
            channels_last=mode.channels_last,
            compile=mode.compiled,
            checkpoint_activations=mode.checkpointed,
        )


def parts_of(setup: Setup, only: Sequence[str] | None) -> Iterator[Part]:
    """Yield the parts, or those whose name holds one of `only`."""
    b = setup.batch
    parts = [
        Part(name="generator forward, batch 1", images=1, make=_forward(setup, 1), trains=False,
             setup=setup),
        Part(name=f"generator forward, batch {b}", images=b, make=_forward(setup, b),
             trains=False, setup=setup),
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
            generator: Any = networks.trained["generator"]
            z = torch.zeros(n, generator.z_dim, device=setup.device).fill_(0.5)
            with torch.inference_mode(), _in_mode(setup, mode, networks):
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

            with mock.patch.object(StyleGANT, "_generate", given):
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
