"""The memory of score, filter and reading does not grow with the data; measured in processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.components.data.makers import encoded, picture, write_plain_tar
from tests.pipeline.stages.test_own_data import arguments_of, write_params

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_800)]
ROWS = 800
# The largest size in memory of a process, as the system has counted it, at the end of its work.
MEASURED = """
import json, re, sys
from pathlib import Path

def train(folder):
    from components.data.batches import BatchSource
    source = BatchSource(Path(folder), "train", 64, 0)
    source._window_rows = 256  # windows that the smaller data fill, too
    for position in range(0, source.num_rows, 32):
        source.atom(position, 32)
    return 0

stage, *words = sys.argv[1:]
if stage == "read":
    code = train(*words)
else:
    import importlib
    code = importlib.import_module(f"pipeline.stages.{stage}").main(words)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps({"code": code, "peak_kib": int(peak[1])}))
"""


def write_tars(folder: Path, rows: int) -> None:
    """Write pictures of noise, 64 px, 12 KB each, 500 in a file."""
    folder.mkdir(parents=True)
    for first in range(0, rows, 500):
        members: list[tuple[str, bytes]] = []
        for number in range(first, min(first + 500, rows)):
            members.append((f"{number:06d}.png", encoded(picture(64, seed=number))))
            members.append((f"{number:06d}.txt", f"picture {number}".encode()))
        write_plain_tar(folder / f"{first:06d}.tar", members)


def measure(world: Path, stage: str, words: list[str]) -> int:
    """Run a stage in a process of its own; return its peak in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, stage, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "GANLINE_RUNS_DIR": str(world / "runs")},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0, done.stderr
    return int(told["peak_kib"])


def peaks(world: Path, rows: int) -> dict[str, int]:
    """Run everything over so many rows; return stage -> peak in KiB."""
    world.mkdir()
    write_tars(world / "pictures", rows)
    write_params(world, world / "pictures", shard_rows=500, condition="none")
    found = {}
    for stage in ("score", "filter", "read"):
        read = [str(world / "out/filter")]
        words = read if stage == "read" else arguments_of(world, stage, "out")
        found[stage] = measure(world, stage, words)
    report = json.loads((world / "out/filter.json").read_text())
    assert report["in"] == rows and report["kept"] > rows / 2, report
    return found


@pytest.mark.row("B22")
def test_ten_times_the_data_take_at_most_a_fifth_more(tmp_path: Path) -> None:
    once, ten_times = peaks(tmp_path / "one", ROWS), peaks(tmp_path / "ten", 10 * ROWS)
    print({stage: (once[stage] // 1024, ten_times[stage] // 1024) for stage in once})
    assert not {s: (once[s], ten_times[s]) for s in once if ten_times[s] > 1.2 * once[s]}


@pytest.mark.row("G6")
def test_large_pictures_take_memory_by_those_in_flight(tmp_path: Path) -> None:
    """Of 16 megapixels, 48 MB each when decoded: four, and then twenty-four."""
    large = encoded(np.zeros((4_000, 4_000, 3), np.uint8))
    found = {}
    for count in (4, 24):
        world = tmp_path / str(count)
        (world / "pictures" / "all").mkdir(parents=True)
        for number in range(count):
            # An end of its own, or all but one would be copies.
            place = world / "pictures" / "all" / f"{number}.png"
            place.write_bytes(large + str(number).encode())
        write_params(world, world / "pictures", condition="none")
        found[count] = measure(world, "score", arguments_of(world, "score", "out"))
    print({count: kib // 1024 for count, kib in found.items()})
    assert found[24] <= 1.2 * found[4]
