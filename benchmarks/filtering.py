"""How long the filter's decisions take, and what they hold in memory, as the rows grow.

python -m benchmarks.filtering [--rows 100000 1000000] [--folder DIR] [--json FILE]

The scores are made up (benchmarks/made_up_scores.py): 3 % exact copies, 3 % near copies, a fifth of
the images on white with nearly equal hashes. They are written to a folder first; each size is
decided in a process of its own. Nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main(argv: list[str] | None = None) -> int:
    """Measure all sizes, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filtering", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="place of the scores, 500 bytes a row")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.case:
        print(json.dumps(_measure(options.case, options.folder)))
        return 0
    cases: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for rows in options.rows:
            cases.append(_case(rows, Path(folder) / str(rows)))
            print("  ".join(f"{name} {value}" for name, value in cases[-1].items()), flush=True)
    for one, two in itertools.pairwise(cases):
        growth = math.log(two["cpu_s"] / one["cpu_s"]) / math.log(two["rows"] / one["rows"])
        print(f"from {one['rows']:,} to {two['rows']:,} rows: time grows as n^{growth:.2f}")
    if options.json:
        options.json.write_text(json.dumps(cases, indent=2) + "\n")
    return 0


def _case(rows: int, folder: Path) -> dict[str, Any]:
    from benchmarks.made_up_scores import write_scores

    write_scores(folder / "scores", rows)
    command = [sys.executable, "-m", "benchmarks.filtering", "--case", str(rows)]
    command += ["--folder", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    shutil.rmtree(folder)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(rows: int, folder: Path) -> dict[str, Any]:
    """Decide on made-up scores; cpu_s are seconds of the processor."""
    from components.data.config import FilterConfig
    from components.data.decisions import decide
    from components.data.filtering import copy_rules_of, rules_of
    from components.data.score_files import open_scores
    from components.data.scoring import SCORE_SCHEMA

    before, clock, start = _peak_gib(), time.time(), time.process_time()
    config = FilterConfig(near_duplicate_bits=6, clip_keep_fraction=0.999)
    scores = open_scores(folder / "scores", SCORE_SCHEMA, folder / "work")
    decisions = decide(scores, rules_of(config), copy_rules_of(config), folder / "work")
    seconds = time.process_time() - start
    return {
        "rows": rows,
        "cpu_s": round(seconds, 2),
        "wall_s": round(time.time() - clock, 2),
        "peak_gib": round(_peak_gib(), 2),
        "imports_gib": round(before, 2),
        **_quality(decisions, rows),
    }


def _quality(decisions: Any, rows: int) -> dict[str, float]:
    """Return the share of copies that is found, and of other rows that is taken for one.

    A copy whose original is not kept (a thousandth of all) counts as missed.
    """
    import numpy as np

    from benchmarks.made_up_scores import SHARD_ROWS, copies

    names = list(decisions.reasons)
    exact = names.index("filter.exact_duplicate")
    near = names.index("filter.near_duplicate")
    counts = np.zeros((3, 2), dtype=np.int64)
    for at in range(0, rows, SHARD_ROWS):
        number = np.arange(at, min(rows, at + SHARD_ROWS))
        codes = decisions.codes_N[number]
        is_exact, is_near = copies(number, rows)
        wrong = ((codes == exact) | (codes == near)) & ~is_exact & ~is_near
        for row, (which, hit) in enumerate(
            [(is_exact, codes == exact), (is_near, codes == near), (~is_exact & ~is_near, wrong)]
        ):
            counts[row] += which.sum(), (which & hit).sum()
    share = counts[:, 1] / np.maximum(counts[:, 0], 1)
    names = ["exact_found", "near_found", "false"]
    return {name: round(float(value), 6) for name, value in zip(names, share, strict=True)}


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    sys.exit(main())
