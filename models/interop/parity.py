"""`python -m models.interop.parity FILE...`: one JSON line per parity fixture, exit 1 if one fails.

A fixture holds a module's weights under the authors' names, inputs, and what the authors' code made
of them. The weights go through the importer that users call, and every output must agree: max |ours
- theirs| <= 1e-4 max(1, max |theirs|). A layer table (`spec/`) must agree to 1e-6, relative.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from models.families import parity_checks
from models.interop.parity_file import ParityCheck, ParityFile, read_parity_file

TOLERANCE = 1e-4
SPEC_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """What one fixture gave: the largest error over its outputs (`max_relative_error`), and over
    its layer table (None if it has none).
    """

    file: str
    module: str
    max_relative_error: float | None
    max_spec_error: float | None = None
    ok: bool
    error: str = ""


def check(path: Path) -> ParityResult:
    """Recompute one fixture's outputs and compare; a fault is a result that is not ok.

    A fixture belongs to the module whose name its file name starts with.
    """
    module = ""
    try:
        checks = parity_checks()
        module = next((name for name in checks if path.stem.startswith(name)), "")
        if not module:
            raise ValueError(f"no module for {path.stem!r}: known are {', '.join(checks)}")
        file = read_parity_file(path)
        error = max_relative_error(checks[module].outputs(file), file.output)
        spec_error = _table_error(file, checks[module], module)
    except Exception as fault:
        return ParityResult(
            file=str(path), module=module, max_relative_error=None, ok=False, error=f"{fault}"
        )
    return ParityResult(
        file=str(path),
        module=module,
        max_relative_error=error,
        max_spec_error=spec_error,
        ok=error <= TOLERANCE and (spec_error is None or spec_error <= SPEC_TOLERANCE),
    )


def _table_error(file: ParityFile, check: ParityCheck, module: str) -> float | None:
    """Return the error of the layer table; None where the module has none.

    Raises:
        ValueError: the file holds a table that we do not know.
    """
    if check.layer_table is not None:
        return max_spec_error(check.layer_table(file), file.spec)
    if file.spec:
        raise ValueError(f"no layer table is known of {module}: {', '.join(file.spec)}")
    return None


def max_relative_error(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Return the largest max |ours - theirs| / max(1, max |theirs|) over all outputs.

    Raises:
        ValueError: an output that only one side has, or of another shape.
    """
    _match(ours, theirs, "outputs")
    worst = 0.0
    for name, expected in theirs.items():
        error = (ours[name].detach().double() - expected.double()).abs().max().item()
        worst = _larger(worst, error / max(1.0, expected.abs().max().item()))
    return worst


def max_spec_error(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Return the largest |ours - theirs| / |theirs| over every number of a layer table.

    Raises:
        ValueError: a column that only one side has, or of another length.
    """
    _match(ours, theirs, "columns of the layer table")
    worst = 0.0
    for name, expected in theirs.items():
        error = (ours[name] - expected).abs() / expected.abs().clamp(min=1e-12)
        worst = _larger(worst, error.max().item())
    return worst


def _match(ours: dict[str, Tensor], theirs: dict[str, Tensor], what: str) -> None:
    if set(ours) != set(theirs):
        raise ValueError(f"{what} differ: {sorted(set(ours) ^ set(theirs))}")
    for name, expected in theirs.items():
        if ours[name].shape != expected.shape:
            raise ValueError(
                f"{name}: shape {list(ours[name].shape)}, wanted {list(expected.shape)}"
            )


def _larger(worst: float, error: float) -> float:
    """Return the larger error; a NaN is not lost but infinite."""
    return max(worst, error) if error == error else float("inf")


def main(argv: list[str] | None = None) -> int:
    """Check the files given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    results = [check(path) for path in parser.parse_args(argv).files]
    for result in results:
        sys.stdout.write(json.dumps(asdict(result)) + "\n")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
