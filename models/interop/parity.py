"""`python -m models.interop.parity FILE...`: one JSON line per parity fixture, exit 1 if one fails.

A fixture holds a module's weights under the authors' names, inputs, and what the authors' code made
of them. The weights go through the importer that users call, and every output must agree: max |ours
- theirs| <= 1e-4 max(1, max |theirs|). A layer table (`spec/`) must agree to 1e-6, relative.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from models.interop import (
    projected_gan_parity,
    stylegan2_parity,
    stylegan3_parity,
    stylegan_t_parity,
)
from models.interop.parity_file import ParityFile, read_parity_file

TOLERANCE = 1e-4
SPEC_TOLERANCE = 1e-6

# A fixture belongs to the module whose name its file name starts with.
MODULES: dict[str, Callable[[ParityFile], dict[str, Tensor]]] = {
    "stylegan_t_mapping": stylegan_t_parity.mapping,
    "stylegan_t_synthesis": stylegan_t_parity.synthesis,
    "stylegan_t_disc_head": stylegan_t_parity.head,
    "stylegan_t_losses": stylegan_t_parity.losses,
    "stylegan_t_vit_taps": stylegan_t_parity.vit_taps,
    "projected_gan_csm": projected_gan_parity.scale_mixing,
    "projected_gan_single_disc": projected_gan_parity.scale_discriminator,
    "fastgan_synthesis": projected_gan_parity.fastgan,
    "stylegan2_generator": stylegan2_parity.generator,
    "stylegan3_synthesis": stylegan3_parity.synthesis,
    "stylegan_xl_superres_synthesis": stylegan3_parity.synthesis,
    "stylegan_xl_mapping": stylegan3_parity.class_mapping,
}
# Modules whose fixtures also hold a layer table.
SPECS: dict[str, Callable[[ParityFile], dict[str, Tensor]]] = {
    "stylegan3_synthesis": stylegan3_parity.layer_table,
    "stylegan_xl_superres_synthesis": stylegan3_parity.layer_table,
}


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
    """Recompute one fixture's outputs and compare; a fault is a result that is not ok."""
    module = next((name for name in MODULES if path.stem.startswith(name)), "")
    try:
        if not module:
            raise ValueError(f"no module for {path.stem!r}: known are {', '.join(MODULES)}")
        file = read_parity_file(path)
        error = max_relative_error(MODULES[module](file), file.output)
        spec_error = None
        if file.spec or module in SPECS:
            if module not in SPECS:
                raise ValueError(f"no layer table is known of {module}: {', '.join(file.spec)}")
            spec_error = max_spec_error(SPECS[module](file), file.spec)
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
