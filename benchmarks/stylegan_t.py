"""Where StyleGAN-T's time goes, and what each lever gives: ours against the textbook form.

python -m benchmarks.stylegan_t [--preset lite] [--resolution 64] [--batch 8] [--rounds 3]
                                [--compile] [--checkpoint] [--json FILE]

All cases of a part run in turn within each round, and the least time of each counts, so that other
work on the machine disturbs the ratios least. Nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.stylegan_t_parts import Case, cases_of, parts_of
from benchmarks.stylegan_t_setup import Setup


def main(argv: list[str] | None = None) -> int:
    """Measure all parts, print the table, write the JSON."""
    options = _parser().parse_args(argv)
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    setup = Setup(
        preset=options.preset,
        resolution=options.resolution,
        batch=options.batch,
        guidance=options.guidance,
        device=options.device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )
    machine = describe(setup.device)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    rows = []
    for part in parts_of(setup, only=options.parts):
        cases = cases_of(part, compiled=options.compile, checkpointed=options.checkpoint)
        rows += _measure(part.name, part.images, cases, options.rounds)
        _print(rows[-len(cases) :])
    result = {"machine": machine, "setup": setup.facts(), "rounds": options.rounds, "rows": rows}
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stylegan_t", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--preset", choices=("tiny", "lite", "full"), default="lite")
    parser.add_argument("--resolution", type=int, default=64, help="side of the images")
    parser.add_argument("--batch", type=int, default=8, help="samples of a training step")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each case")
    parser.add_argument("--guidance", default="ViT-B-32", help="open_clip model that guides")
    parser.add_argument("--parts", nargs="+", help="only the parts whose name holds one of these")
    parser.add_argument("--threads", type=int, help="threads of the processor (torch's default)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    parser.add_argument("--compile", action="store_true", help="also torch.compile (minutes)")
    parser.add_argument("--checkpoint", action="store_true", help="also recomputed activations")
    parser.add_argument("--json", type=Path, help="write the results here")
    return parser


def _measure(part: str, images: int, cases: list[Case], rounds: int) -> list[dict[str, Any]]:
    """Time every case once a round, after one run of each that is not counted."""
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    peaks: dict[str, float | None] = {}
    for case in cases:
        peaks[case.name] = case.peak_gib()
    for _ in range(rounds):
        for case in cases:
            seconds[case.name].append(case.seconds())
    best = {name: min(values) for name, values in seconds.items()}
    base = best[cases[0].name]
    return [
        {
            "part": part,
            "case": case.name,
            "seconds": round(best[case.name], 4),
            "images_per_s": round(images / best[case.name], 2),
            "ratio": round(base / best[case.name], 2),
            "peak_gib": peaks[case.name],
        }
        for case in cases
    ]


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"\n{rows[0]['part']}")
    for row in rows:
        memory = "" if row["peak_gib"] is None else f"  {row['peak_gib']:6.2f} GiB"
        speed = f"{row['seconds']:9.4f} s  {row['images_per_s']:9.2f} images/s"
        print(f"  {row['case']:<34} {speed}  {row['ratio']:5.2f}x{memory}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
