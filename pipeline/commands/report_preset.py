"""Which preset a run is nearest to, and in what it differs from that one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from components.errors import GanlineError
from pipeline.commands.report_parts import flatten, number
from pipeline.params.resolved import resolved
from pipeline.places import bundled_folder

MISSING = "not set"


def differing(records: Mapping[str, Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """Return the name of the preset that the run is nearest to, and the settings that differ.

    Args:
        records: stage -> what its last run recorded.

    Returns:
        The preset with the fewest differences ("" where there is none to compare with), and the
        dotted name of each setting that differs -> its value, and the preset's.
    """
    ran = {name: record["config"] for name, record in records.items() if record.get("config")}
    best: tuple[str, dict[str, str]] | None = None
    for name, configs in _presets(list(ran)) if ran else ():
        found: dict[str, str] = {}
        for stage, config in ran.items():
            found |= _compared(flatten(config), flatten(configs.get(stage, {})))
        if best is None or len(found) < len(best[1]):
            best = name, found
    return best or ("", {})


def _compared(ran: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in ran.items():
        if value != other.get(key):
            preset = number(other[key]) if key in other else MISSING
            found[key] = f"{number(value)} (preset: {preset})"
    return found


def _presets(stages: list[str]) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Yield the presets' names, and for each of these stages the settings that it would run with.

    A preset of this version that cannot be read, or that has no such stage, compares as far as it
    goes.
    """
    from pipeline.params.sections import load_params

    for path in sorted((bundled_folder().parent / "presets").glob("*.yaml")):
        with suppress(GanlineError):
            params = load_params(path)
            configs = {}
            for stage in stages:
                with suppress(GanlineError):
                    configs[stage] = resolved(params, stage)
            yield path.name, configs
