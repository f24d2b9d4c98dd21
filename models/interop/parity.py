"""`python -m models.interop.parity FILE...`: one JSON line per parity fixture, exit 1 if one fails.

A fixture holds a module's weights under the authors' names, inputs, and what the authors' code made
of them. The weights go through the importer that users call, and every output must agree: max |ours
- theirs| <= 1e-4 max(1, max |theirs|).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from models.interop import stylegan_t_parity
from models.interop.parity_file import ParityFile, read_parity_file

TOLERANCE = 1e-4

# A fixture belongs to the module whose name its file name starts with.
MODULES: dict[str, Callable[[ParityFile], dict[str, Tensor]]] = {
    "stylegan_t_mapping": stylegan_t_parity.mapping,
    "stylegan_t_synthesis": stylegan_t_parity.synthesis,
    "stylegan_t_disc_head": stylegan_t_parity.head,
    "stylegan_t_losses": stylegan_t_parity.losses,
    "stylegan_t_vit_taps": stylegan_t_parity.vit_taps,
}


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """What one fixture gave; the error is the largest over its outputs (`max_relative_error`)."""

    file: str
    module: str
    max_relative_error: float | None
    ok: bool
    error: str = ""


def check(path: Path) -> ParityResult:
    """Recompute one fixture's outputs and compare; a fault is a result that is not ok."""
    module = next((name for name in MODULES if path.stem.startswith(name)), "")
    try:
        if not module:
            raise ValueError(f"no module for {path.stem!r}: known are {', '.join(MODULES)}")
        file = read_parity_file(path)
        error = max_relative_error(MODULES[module](file), file.output)
    except Exception as fault:
        return ParityResult(
            file=str(path), module=module, max_relative_error=None, ok=False, error=f"{fault}"
        )
    return ParityResult(
        file=str(path), module=module, max_relative_error=error, ok=error <= TOLERANCE
    )


def max_relative_error(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Return the largest max |ours - theirs| / max(1, max |theirs|) over all outputs.

    Raises:
        ValueError: an output that only one side has, or of another shape.
    """
    if set(ours) != set(theirs):
        raise ValueError(f"outputs differ: {sorted(set(ours) ^ set(theirs))}")
    worst = 0.0
    for name, expected in theirs.items():
        if ours[name].shape != expected.shape:
            raise ValueError(
                f"{name}: shape {list(ours[name].shape)}, wanted {list(expected.shape)}"
            )
        error = (ours[name].detach().double() - expected.double()).abs().max().item()
        relative = error / max(1.0, expected.abs().max().item())
        # A NaN must not be lost in max().
        worst = max(worst, relative) if relative == relative else float("inf")
    return worst


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
