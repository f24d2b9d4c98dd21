"""Everything that a run must remember to continue, as named tensors and a few facts.

It is one object in memory, and is flattened for the file.

Data position and random numbers are absent on purpose: they derive from nimg (seeds.py), so they
cannot be forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam

from components.errors import StorageError
from components.training.ema import averaged_copy
from models.interfaces import Networks, OptimizerSettings, Phase


@dataclass(kw_only=True)
class TrainState:
    """The mutable state of a run. Tensors are saved as tensors, the other fields marked `fact` as
    JSON.

    Attributes:
        networks, phases: what the recipe built (the trained networks are saved).
        optimizers: phase name -> its Adam, for phases that have their own.
        ema: averaged copy of the model.
        parameters: "network/parameter" -> parameter of a trained network; statistics: their modules
            that have `commit`. Listed once: walking the modules takes longer than a small step.
        nimg: images seen in this stage, the only clock (fact).
        seconds: time spent in iterations, resumes included (fact).
        nonfinite_total: optimizer steps cancelled so far (fact).
        nonfinite_streak: phase name -> cancelled steps in a row (fact).
        best: nimg and frechet of the lowest distance measured, or nimg and numbers of the last time
            that all watched was well, {} before the first (fact).
        tick: sums, counts, seconds and images since the last tick: a run that goes on reports what
            one without a break does (fact).
        looks: the largest spreads that the averaged model has shown (collapse.py), {} before the
            first look (fact).
        best_weights: what the artifact is made of, as it was then; {} where the last weights are
            kept.
    """

    networks: Networks
    phases: list[Phase]
    optimizers: dict[str, Adam]
    ema: nn.Module
    parameters: dict[str, nn.Parameter]
    statistics: list[nn.Module]
    nimg: int = 0
    seconds: float = 0.0
    nonfinite_total: int = 0
    nonfinite_streak: dict[str, int] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    tick: dict[str, Any] = field(default_factory=dict)
    looks: dict[str, float] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    FACTS = ("nimg", "seconds", "nonfinite_total", "nonfinite_streak", "best", "tick", "looks")

    @classmethod
    def build(
        cls, networks: Networks, phases: list[Phase], *, keeps_best: bool = False
    ) -> TrainState:
        """Return the state of a run that has seen no image."""
        trained = networks.trained
        named = {f"{n}/{k}": p for n, net in trained.items() for k, p in net.named_parameters()}
        parts = (part for net in trained.values() for part in net.modules())
        state = cls(
            networks=networks,
            phases=phases,
            optimizers={
                p.name: _adam(list(named.values()), p.optimizer) for p in phases if not p.steps_of
            },
            ema=averaged_copy(trained[networks.model]),
            parameters=named,
            statistics=[part for part in parts if hasattr(part, "commit")],
        )
        if keeps_best:  # room from the start: every state of the run has the same tensors
            raw = f"networks/{networks.model}/"
            weights = {n: t for n, t in state.tensors().items() if not n.startswith(raw)}
            state.best_weights = {name: t.detach().clone() for name, t in weights.items()}
        return state

    @property
    def model(self) -> nn.Module:
        """The network that is averaged and becomes the artifact."""
        return self.networks.trained[self.networks.model]

    def optimizer(self, phase: Phase) -> Adam:
        """Return the optimizer that takes the steps of a phase: its own, or another phase's."""
        return self.optimizers[phase.steps_of or phase.name]

    def scale_rate(self, phase: Phase, factor: float) -> None:
        """Let the phase's optimizer learn at `factor` times the rate of its settings."""
        for group in self.optimizer(phase).param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])

    @torch.no_grad()
    def step(self, phase: Phase) -> None:
        """Let the phase's optimizer take a step, once the weights that decay have done so (AdamW:
        Loshchilov and Hutter 2019, algorithm 2, where the decay follows the rate).
        """
        optimizer = self.optimizer(phase)
        rate = optimizer.param_groups[0]["lr"]
        for factor, parameters in phase.optimizer.decay.items():
            trained: list[Tensor] = [p for p in parameters if p.requires_grad]
            if trained:
                torch._foreach_mul_(trained, 1.0 - rate * factor)
        optimizer.step()

    def stepped(self) -> list[nn.Parameter]:
        """Return the parameters that any optimizer has stepped since nimg 0 (resumes included)."""
        stepped = (p for optimizer in self.optimizers.values() for p in optimizer.state)
        return cast("list[nn.Parameter]", list(stepped))

    def enable(self, phase: Phase) -> list[nn.Parameter]:
        """Make the phase's parameters the only ones that need a gradient, drop old gradients,
        return them.
        """
        parameters = phase.parameters(self.nimg)
        enabled = set(map(id, parameters))
        for parameter in self.parameters.values():
            parameter.grad = None
            parameter.requires_grad_(id(parameter) in enabled)
            enabled.discard(id(parameter))
        if enabled:
            raise ValueError(
                f"phase {phase.name}: {len(enabled)} parameters are in no trained network"
            )
        self.optimizer(phase).param_groups[0]["params"] = parameters
        return parameters

    @torch.no_grad()
    def measured(self, frechet: float) -> None:
        """Take in the averaged model's distance as it is now; of equal ones the first counts, and
        one that is not finite never does.
        """
        if not math.isfinite(frechet) or (self.best and frechet >= self.best["frechet"]):
            return
        self.keep({"frechet": frechet})

    @torch.no_grad()
    def watched(self, numbers: Mapping[str, float], stop_below: Mapping[str, float]) -> None:
        """Take in what was watched; where the run may stop for it, keep the weights while no number
        is below its bound, and end the run when one is.
        """
        if not any(stop_below.values()):
            return
        if all(numbers[name] >= bound for name, bound in stop_below.items()):
            self.keep(numbers)
        else:
            self.end()

    def end(self) -> None:
        """End the run with the weights that were kept."""
        self.best = {"nimg": 0, **self.best, "stopped_at_nimg": self.nimg}

    @property
    def stopped(self) -> bool:
        """Whether a number that is watched, or a sign of collapse, has ended the run."""
        return "stopped_at_nimg" in self.best

    @torch.no_grad()
    def keep(self, numbers: Mapping[str, float]) -> None:
        """Keep the averaged weights as they are now, with the numbers that speak for them."""
        self.best = {"nimg": self.nimg, **numbers}
        now = self.tensors()
        for name, kept in self.best_weights.items():
            kept.copy_(now[name])

    @torch.no_grad()
    def restore_best(self) -> None:
        """Make the weights of the artifact those of the lowest distance, where they are kept."""
        now = self.tensors()
        for name, kept in self.best_weights.items() if self.best else ():
            now[name].copy_(kept)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name: `networks/<network>/...`, `ema/...`,
        `optimizers/<phase>/...`, `best/<name>`.
        """
        named = {
            f"networks/{network}/{name}": tensor
            for network, module in self.networks.trained.items()
            for name, tensor in module.state_dict().items()
        }
        named |= {f"ema/{name}": tensor for name, tensor in self.ema.state_dict().items()}
        for phase, optimizer in self.optimizers.items():
            for name, parameter in self.parameters.items():
                for slot, tensor in sorted(optimizer.state.get(parameter, {}).items()):
                    named[f"optimizers/{phase}/{name}/{slot}"] = tensor
        return named | {f"best/{name}": tensor for name, tensor in self.best_weights.items()}

    def facts(self) -> dict[str, Any]:
        """Return the fields that are no tensors."""
        return {name: getattr(self, name) for name in self.FACTS}

    def stepped_names(self) -> dict[str, list[str]]:
        """Return phase name -> names of the parameters that its optimizer has memory of."""
        return {
            phase: [name for name, p in self.parameters.items() if p in optimizer.state]
            for phase, optimizer in self.optimizers.items()
        }

    def expect(self, facts: Mapping[str, Any], stepped: Mapping[str, list[str]]) -> None:
        """Make room for a state that another rank has loaded and will broadcast."""
        for phase, names in stepped.items():
            for name in names:
                parameter = self.parameters[name]
                _load_slot(self.optimizers[phase], parameter, "step", torch.zeros(()))
                for slot in ("exp_avg", "exp_avg_sq"):
                    zeros = torch.zeros_like(parameter)
                    _load_slot(self.optimizers[phase], parameter, slot, zeros)
        self._take_facts(facts)

    def load(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over a saved state; StorageError when it does not fit the networks."""
        modules = {f"networks/{n}/": m for n, m in self.networks.trained.items()}
        for prefix, module in {**modules, "ema/": self.ema}.items():
            _copy_in(module.state_dict(), _under(tensors, prefix), prefix)
        _copy_in(self.best_weights, _under(tensors, "best/"), "best/")
        for phase, optimizer in self.optimizers.items():
            optimizer.state.clear()
            for path, tensor in _under(tensors, f"optimizers/{phase}/").items():
                name, slot = path.rsplit("/", 1)
                _load_slot(optimizer, self.parameters[name], slot, tensor)
        self._take_facts(facts)

    def _take_facts(self, facts: Mapping[str, Any]) -> None:
        for name in self.FACTS:
            if name in facts:  # states of before there was a `best` or a `tick` have none
                setattr(self, name, facts[name])


def _adam(parameters: list[nn.Parameter], settings: OptimizerSettings) -> Adam:
    """Build a fused Adam where this torch and device have one (same formula, fewer kernels)."""
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": (settings.beta1, settings.beta2),
        "eps": settings.eps,
    }
    try:
        return Adam(parameters, fused=True, **options)
    except RuntimeError:
        return Adam(parameters, foreach=True, **options)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries whose name begins with `prefix`, without it."""
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _copy_in(own: dict[str, Tensor], tensors: dict[str, Tensor], prefix: str) -> None:
    """Copy in place: the tensors keep their device, memory order and identity (optimizers hold
    them).
    """
    unlike = sorted(own.keys() ^ tensors.keys())
    unlike += [n for n in own if n in tensors and own[n].shape != tensors[n].shape]
    if unlike:
        raise StorageError(
            f"saved state does not fit the network at {', '.join(unlike[:10])}",
            prefix.rstrip("/"),
            "the code changed the network: raise the stage's revision to train anew",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _load_slot(optimizer: Adam, parameter: nn.Parameter, slot: str, tensor: Tensor) -> None:
    """Restore one tensor of Adam's memory; the step counter lives where this variant keeps it."""
    fused = bool(optimizer.defaults.get("fused"))
    if slot == "step":
        value = tensor.to(parameter.device if fused else "cpu", torch.float32, copy=True)
    else:
        value = torch.empty_like(parameter, memory_format=torch.preserve_format).detach()
        value.copy_(tensor)
    optimizer.state[parameter][slot] = value
