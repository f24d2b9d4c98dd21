"""Where the seconds of a training stage went: to start, to learn, to look and save, to end."""

from __future__ import annotations

from collections.abc import Mapping

PHASES = ("start", "learning", "saving", "end")


def phases(started: float, session: Mapping[str, float], ended: float) -> dict[str, float]:
    """Return the seconds of each phase; {} when nothing was trained.

    They add up to the stage's own: start = until the first step (Ray, imports, networks); learning
    = inside steps; saving = samples, measures, states and reports between them, and the artifact;
    end = Ray's and the outputs'.

    Args:
        started: when the stage began, in seconds since the epoch.
        session: of `run_job`: {"first_step", "ended": since the epoch, "learning": seconds}.
        ended: when the stage was done, in seconds since the epoch.
    """
    if not session:
        return {}
    first, learning, left = (session[name] for name in ("first_step", "learning", "ended"))
    spent = (first - started, learning, left - first - learning, ended - left)
    # A cluster's clock may differ a little from ours.
    return {name: round(max(s, 0.0), 3) for name, s in zip(PHASES, spent, strict=True)}
