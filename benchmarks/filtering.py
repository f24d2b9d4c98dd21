"""How long the filter's decisions take, and what they hold in memory, as the rows grow.

python -m benchmarks.filtering [--rows 100000 1000000] [--json FILE]

The scores are made up: 3 % exact copies, 3 % near copies, a fifth of the images on white with
nearly equal hashes. Each size runs in a process of its own, on one thread. Nothing passes or fails
by time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_CHUNK = 100_000
_EXACT, _NEAR, _WHITE = 0.03, 0.03, 0.2


def main(argv: list[str] | None = None) -> int:
    """Measure all sizes, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filtering", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.case:
        print(json.dumps(_measure(options.case)))
        return 0
    cases = []
    for rows in options.rows:
        command = [sys.executable, "-m", "benchmarks.filtering", "--case", str(rows)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        cases.append(json.loads(done.stdout.splitlines()[-1]))
        print("  ".join(f"{name} {value}" for name, value in cases[-1].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(cases, indent=2) + "\n")
    return 0


def _measure(rows: int) -> dict[str, Any]:
    """Decide on made-up scores; seconds are those of the processor."""
    import numpy as np

    from components.data.config import FilterConfig
    from components.data.filtering import decide, in_stored_order

    table, is_exact, is_near = _scores(rows)
    before, start = _peak_gib(), time.process_time()
    reasons = decide(in_stored_order(table), FilterConfig(near_duplicate_bits=6))
    seconds = time.process_time() - start
    near, exact = reasons == "filter.near_duplicate", reasons == "filter.exact_duplicate"
    clean = ~(is_exact | is_near)
    return {
        "rows": rows,
        "cpu_s": round(seconds, 2),
        "peak_gib": round(_peak_gib(), 2),
        "table_gib": round(before, 2),
        "exact_found": round(float(np.mean(exact[is_exact])), 4),
        "near_found": round(float(np.mean(near[is_near])), 4),
        "false": round(float(np.mean(near[clean] | exact[clean])), 6),
    }


def _scores(rows: int) -> tuple[Any, Any, Any]:
    """Return a table of scores, and which rows copy an earlier one exactly or nearly."""
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(0)
    hashes = rng.integers(-(2**63), 2**63, rows)
    thumbs = np.concatenate([_smooth(rng, min(_CHUNK, rows - at)) for at in range(0, rows, _CHUNK)])
    white = rng.random(rows) < _WHITE
    thumbs[white, :96] = 255
    hashes[white] &= ~np.int64(2**40 - 1)
    identity = np.arange(rows)
    kind = rng.random(rows)
    kind[: rows // 2] = 1.0  # the first half is original, the second copies from it
    is_exact, is_near = kind < 2 * _EXACT, (kind >= 2 * _EXACT) & (kind < 2 * (_EXACT + _NEAR))
    for copies, moved in ((is_exact, 0), (is_near, 2)):
        at = np.flatnonzero(copies)
        sources = rng.integers(0, rows // 2, len(at))
        noise = rng.integers(-moved, moved + 1, (len(at), thumbs.shape[1]))
        thumbs[at] = np.clip(thumbs[sources].astype(np.int16) + noise, 0, 255)
        flips = np.int64(1) << rng.integers(0, 63, len(at)) if moved else np.int64(0)
        hashes[at] = hashes[sources] ^ flips
        if not moved:
            identity[at] = sources
    offsets = np.arange(rows + 1, dtype=np.int64) * thumbs.shape[1]
    cells = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(thumbs)]
    )
    columns = {
        "key": pa.array(np.char.mod("k%09d", np.arange(rows))),
        "shard": pa.array(np.char.mod("%05d.tar", np.arange(rows) // 10_000)),
        "offset": np.arange(rows) % 10_000 * 1_024,
        "width": np.full(rows, 256),
        "height": np.full(rows, 256),
        "caption_chars": np.full(rows, 40),
        "clip_similarity": rng.random(rows, dtype=np.float32),
        "sha256": pa.array(np.char.mod("%032x", identity)),  # its first half is what counts
        "phash": hashes,
        "thumbnail": cells,
        "reason": pa.nulls(rows, pa.string()),
    }
    return pa.table(columns), is_exact, is_near


def _smooth(rng: Any, rows: int) -> Any:
    """Return thumbnails as of pictures: 3 x 3 colours with slopes between, uint8 [N, 192]."""
    import numpy as np

    colours = rng.integers(0, 256, (rows, 3, 3, 3)).astype(np.float32)
    place = np.linspace(0, 2, 8, dtype=np.float32)
    low = np.minimum(place.astype(int), 1)
    share = place - low
    down, right = share[None, :, None, None], share[None, None, :, None]
    lines = colours[:, low] * (1 - down) + colours[:, low + 1] * down
    cells = lines[:, :, low] * (1 - right) + lines[:, :, low + 1] * right
    return cells.astype(np.uint8).reshape(rows, -1)


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    sys.exit(main())
