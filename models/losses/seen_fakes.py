"""What one phase saw of the generator's images, kept for the next one."""

from __future__ import annotations

from torch import Tensor


class SeenFakes:
    """What the discriminator sees of the generator's images, kept from its phase to the next one.

    A queue, for every phase of an iteration gets the same micro-batches in the same order. It is
    empty between iterations, so a run's state need not hold it.
    """

    def __init__(self) -> None:
        self._taps: list[dict[str, Tensor]] = []

    def keep(self, taps: dict[str, Tensor]) -> None:
        """Keep copies: a replayed graph writes its results to the same place each time."""
        self._taps.append({name: x.detach().clone() for name, x in taps.items()})

    def next(self) -> dict[str, Tensor]:
        """Return the oldest ones, and forget them."""
        return self._taps.pop(0)
