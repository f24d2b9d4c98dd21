"""Ranger: rectified Adam, centred gradients and a slow copy that looks ahead.

Liu et al. 2020 (arXiv 1908.03265), Yong et al. 2020 (arXiv 2004.01461), Zhang et al. 2019 (arXiv
1907.08610); latent mappers were published with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

LOOK_EVERY, LOOK_SHARE = 6, 0.5
RECTIFIED_ABOVE = 5.0  # samples that the second moment must be worth


class Ranger(torch.optim.Optimizer):
    """The optimizer; its state is kept by torch's own `state_dict`.

    Args:
        parameters: to train.
        lr: learning rate.
        betas: decay of the moments.
        eps: added to the root of the second moment.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step with the gradients that are there; `closure` is not used."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        grad, state = parameter.grad, self.state[parameter]
        assert grad is not None
        if not state:
            state["step"] = torch.zeros(())
            state["first"], state["second"] = torch.zeros_like(grad), torch.zeros_like(grad)
            state["slow"] = parameter.detach().clone()
        if grad.ndim > 1:
            grad = grad - grad.mean(dim=tuple(range(1, grad.ndim)), keepdim=True)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step = int(state["step"])
        state["second"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        state["first"].mul_(beta1).add_(grad, alpha=1 - beta1)
        rate, rectified = _rate(step, beta1, beta2)
        if rectified:
            root = state["second"].sqrt().add_(group["eps"])
            parameter.addcdiv_(state["first"], root, value=-rate * group["lr"])
        else:
            parameter.add_(state["first"], alpha=-rate * group["lr"])
        if step % LOOK_EVERY == 0:
            state["slow"].add_(parameter - state["slow"], alpha=LOOK_SHARE)
            parameter.copy_(state["slow"])


def _rate(step: int, beta1: float, beta2: float) -> tuple[float, bool]:
    """Return the factor of the learning rate, and whether the second moment is worth using."""
    decay = beta2**step
    most = 2 / (1 - beta2) - 1
    worth = most - 2 * step * decay / (1 - decay)
    if worth <= RECTIFIED_ABOVE:
        return 1 / (1 - beta1**step), False
    ratio = (worth - 4) / (most - 4) * (worth - 2) / worth * most / (most - 2)
    return math.sqrt((1 - decay) * ratio) / (1 - beta1**step), True
