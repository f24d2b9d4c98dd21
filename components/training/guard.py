"""Guards that may stop a step or a run: numbers that are not finite, and signals."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

import torch
from torch import Tensor

from components.errors import NonFiniteError


def gradient_norms(gradients: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of every gradient, [P] fp32: non-finite where an element is."""
    return torch.stack([norm.float() for norm in torch._foreach_norm(list(gradients))])


def find_nonfinite(
    losses: Mapping[str, float], norms: Mapping[str, float]
) -> tuple[list[str], list[str]]:
    """Return the loss terms and the networks ("network/parameter" names cut at "/") that are not
    finite.
    """
    terms = [name for name, value in losses.items() if not math.isfinite(value)]
    networks = [name.split("/")[0] for name, norm in norms.items() if not math.isfinite(norm)]
    return terms, list(dict.fromkeys(networks))


def nonfinite_error(
    phase: str, nimg: int, terms: Sequence[str], networks: Sequence[str], skips: int, last: str
) -> NonFiniteError:
    """Say what was not finite, where, and from which state the run can be taken up."""
    found = (
        f"loss {', '.join(terms) or 'finite'}, gradients of {', '.join(networks) or 'no network'}"
    )
    return NonFiniteError(
        f"NaN or infinity in {skips} steps in a row: {found}",
        f"phase {phase} at nimg {nimg}, last good state {last}",
        "the weights were not touched: lower the learning rate or a loss weight, or check the data",
    )


class Signals:
    """Turn SIGTERM and SIGINT into a flag read at the next step edge; a second SIGINT ends at once.

    `also` is a further reason to stop (a preemption notice, a tuner's verdict). Outside the main
    thread (Ray's workers) Python allows no handlers, so only `also` counts.
    """

    WATCHED = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, also: Callable[[], bool] | None = None) -> None:
        self.received = ""
        self._also = also
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._receive) for s in self.WATCHED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        if not self.received and self._also is not None and self._also():
            self.received = "a stop request"
        return bool(self.received)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.received:
            os._exit(128 + number)
        self.received = signal.Signals(number).name
