"""How fast the loader feeds a training step, and what it holds in memory when the data grow
tenfold.

python -m benchmarks.loader [--rows 8000] [--resolution 64] [--json FILE]

Each case runs in a process of its own, on one thread. Nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MEASURED_ROWS = 12_000


def main(argv: list[str] | None = None) -> int:
    """Measure all cases, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("--rows", type=int, default=8_000, help="rows of the smaller set")
    parser.add_argument("--resolution", type=int, default=64, help="side of the stored images")
    parser.add_argument("--batch", type=int, default=64, help="samples per micro-batch")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--case", nargs=2, metavar=("FOLDER", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.case:
        print(json.dumps(_measure(Path(options.case[0]), int(options.case[1]), options.batch)))
        return 0
    cases = []
    with tempfile.TemporaryDirectory() as place:
        for times in (1, 10):
            folder = Path(place) / f"x{times}"
            _write_set(folder, options.rows, times, options.resolution)
            for side in (options.resolution, options.resolution // 2):
                case = _run_case(folder, side, options.batch)
                cases.append({"rows": options.rows * times, "side_px": side} | case)
    result = {"machine": _machine(), "batch": options.batch, "cases": cases}
    _print(result)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _write_set(folder: Path, rows: int, times: int, side: int) -> None:
    """Write `times` shards of the same `rows` drawings, as the filter stage would."""
    import shutil

    import numpy as np

    from components.data.config import FilterConfig, SourceConfig
    from components.data.labels import Labels
    from components.data.shard_tables import Sample
    from components.data.shards import read_manifest, write_manifest
    from components.data.synthetic import draw, sample_pairs
    from components.data.training_set import write_training_set
    from components.png import encode_png

    class RandomText:
        embedding_dim, context_length = 512, 77

        def ids(self, captions: Any) -> np.ndarray:
            return np.ones((len(captions), self.context_length), dtype=np.int32)

        def __call__(self, captions: Any) -> np.ndarray:
            return np.random.default_rng(0).normal(size=(len(captions), 512)).astype(np.float16)

    def samples() -> Iterator[Sample]:
        for start in range(0, rows, 250):
            pairs = sample_pairs(0, "loader", range(start, min(rows, start + 250)))
            images = draw(pairs.attributes, pairs.generators, side)
            for i, (caption, image) in enumerate(zip(pairs.captions, images, strict=True)):
                file = encode_png(image)
                yield Sample(f"k{start + i}", file, caption, "", "")

    config = FilterConfig(resolution_px=side, shard_rows=rows)
    splits: dict[str, Iterator[Sample]] = {"train": samples(), "heldout": iter(())}
    source = SourceConfig(path="")
    write_training_set(splits, folder, config, source, Labels.of([]), RandomText(), {})
    manifest = read_manifest(folder)
    manifest.pop("content_hash")
    train = manifest["splits"]["train"]
    for number in range(1, times):
        name = f"train-{number:05d}.parquet"
        shutil.copy(folder / train["shards"][0]["file"], folder / name)
        train["shards"].append(train["shards"][0] | {"file": name})
    train["rows"] = rows * times
    write_manifest(folder, manifest)


def _run_case(folder: Path, side: int, batch: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.loader", "--batch", str(batch)]
    command += ["--case", str(folder), str(side)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ARROW_IO_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(folder: Path, side: int, batch: int) -> dict[str, Any]:
    """Read for a while; seconds per core are those of the processor, however busy it is."""
    import torch

    from components.data.batches import BatchSource

    torch.set_num_threads(1)
    empty = _peak_mib()
    source = BatchSource(folder, "train", side, 0)
    source.atom(0, batch)
    busy, wall = time.process_time(), time.monotonic()
    for position in range(0, _MEASURED_ROWS, batch):
        source.atom(position, batch)
    busy, wall = time.process_time() - busy, time.monotonic() - wall
    seek = time.monotonic()
    source.atom(10_000 * source.num_rows + 17, batch)
    return {
        "images_per_s_per_core": round(_MEASURED_ROWS / busy, 1),
        "images_per_s_wall": round(_MEASURED_ROWS / wall, 1),
        "seek_s": round(time.monotonic() - seek, 3),
        "peak_mib": round(_peak_mib(), 1),
        "peak_above_import_mib": round(_peak_mib() - empty, 1),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _machine() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "pyarrow", "pillow", "numpy")
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((x.split(": ", 1)[1] for x in lines if x.startswith("model name")), cpu)
    facts = {"cpu": cpu, "cores": str(os.cpu_count()), "python": platform.python_version()}
    return facts | {name: version(name) for name in names}


def _print(result: dict[str, Any]) -> None:
    print(", ".join(f"{name} {value}" for name, value in result["machine"].items()))
    names = list(result["cases"][0])
    print("  ".join(f"{name:>{len(name)}}" for name in names))
    for case in result["cases"]:
        print("  ".join(f"{case[name]!s:>{len(name)}}" for name in names))


if __name__ == "__main__":
    sys.exit(main())
