"""How many images a second score and filter take together, and where their time goes.

python -m benchmarks.data_rate [--other CHECKOUT] [--sides 64 512] [--rounds 3] [--json FILE]

The sources are made-up photos, JPEG in tars; the CLIP is the bundled one. With --other, the stages
of another checkout do the same, by turns in one run. Seconds are those of the processor, of all
threads, less what two dozen images take: the start of process, engine and charts is no part of a
rate. Nothing passes or fails by time.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

COUNTS = {64: 2_000, 512: 240}  # images of a source, by the side of its pictures
_FEW = 24  # images of the first turns
_STORED_PX = {512: (256, 512)}  # sides of the stored squares, else that of the pictures
_PARTS = ("decode", "resize", "clip", "fingerprints", "encode")
_HERE = Path(__file__).resolve().parents[1]


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_rate", description=__doc__)
    parser.add_argument("--other", type=Path, help="a checkout to compare with, of any age")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 512], choices=list(COUNTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the images of each source")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve:
        _serve()
        return 0
    codes = {"here": _HERE} | ({"other": options.other.resolve()} if options.other else {})
    with tempfile.TemporaryDirectory() as place:
        rows = []
        for row in _measured(codes, options, Path(place)):
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def _measured(
    codes: dict[str, Path], options: argparse.Namespace, place: Path
) -> Iterator[dict[str, Any]]:
    workers = {name: _Worker(code, place / name) for name, code in codes.items()}
    write_photos(place / "few", 64, _FEW)
    started = {}
    for name, worker in workers.items():
        worker.turn(place / "few", 64, options.set)  # everything is imported then
        started[name] = worker.turn(place / "few", 64, options.set)
    for side in options.sides:
        count = max(_FEW, int(COUNTS[side] * options.share))
        write_photos(place / str(side), side, count)
        for stored in _STORED_PX.get(side, (side,)):
            found: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
            for _ in range(options.rounds):
                for name, worker in workers.items():
                    found[name].append(worker.turn(place / str(side), stored, options.set))
            for name, turns in found.items():
                row = _row(turns, started[name], count - _FEW)
                yield {"code": name, "source_px": side, "stored_px": stored} | row
    for worker in workers.values():
        worker.close()


def _row(turns: list[dict[str, float]], started: dict[str, float], count: int) -> dict[str, Any]:
    """Return the turn of the median time: images per second, and shares of its seconds."""
    turn = sorted(turns, key=lambda turn: turn["total"])[len(turns) // 2]
    turn = {name: value - started.get(name, 0.0) for name, value in turn.items()}
    row: dict[str, Any] = {"images_per_s": round(count / turn["total"], 1)}
    row["score_ms"] = round(1_000 * turn["score"] / count, 2)
    row["filter_ms"] = round(1_000 * turn["filter"] / count, 2)
    row |= {name: round(turn.get(name, 0.0) / turn["total"], 3) for name in _PARTS}
    row["rest"] = round(1.0 - sum(turn.get(name, 0.0) for name in _PARTS) / turn["total"], 3)
    return row


def write_photos(folder: Path, side: int, count: int) -> None:
    """Write `count` made-up photos of a side with captions: JPEG of quality 90 in four tars."""
    import numpy as np
    from PIL import Image

    from components.data.shards import write_tar

    folder.mkdir(parents=True)
    words = ["red", "old", "small", "bright", "wooden", "quiet", "round", "wild"]

    def sample(number: int) -> tuple[str, dict[str, bytes]]:
        rng = np.random.default_rng(number)
        pixels_HWC = np.full((side, side, 3), 128.0)
        for cells in (4, 16, 64, 256):  # noise of many sizes, as in photos
            grid = rng.normal(size=(min(cells, side), min(cells, side), 3)) * 40 / cells**0.4
            planes = [Image.fromarray(grid[:, :, c].astype(np.float32)) for c in range(3)]
            large = [p.resize((side, side), Image.Resampling.BICUBIC) for p in planes]
            pixels_HWC += np.stack([np.asarray(plane) for plane in large], axis=-1)
        file = io.BytesIO()
        image = Image.fromarray(pixels_HWC.clip(0, 255).astype(np.uint8))
        image.save(file, "JPEG", quality=90)
        some = " ".join(rng.choice(words, 4))
        caption = f"a photo of {some} things, taken in {1900 + number % 120} by number {number}"
        return f"{number:06d}", {"jpg": file.getvalue(), "txt": caption.encode()}

    for tar in range(4):
        write_tar(folder / f"{tar}.tar", map(sample, range(tar, count, 4)))


class _Worker:
    """A process that has a checkout's code and runs the stages when it is told to."""

    def __init__(self, code: Path, place: Path) -> None:
        place.mkdir(parents=True)
        self._place, self._code, self._turns = place, code, 0
        environment = os.environ | {
            "PYTHONPATH": str(code),
            "GANLINE_RUNS_DIR": str(place / "runs"),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=place,
            text=True,
        )

    def turn(self, source: Path, stored_px: int, more: list[str]) -> dict[str, float]:
        """Return the seconds of score, filter, both, and of each part."""
        self._turns += 1
        out = self._place / str(self._turns)
        order = {"code": str(self._code), "source": str(source), "out": str(out)}
        order |= {"encoders": str(_HERE / "bundled" / "encoders"), "set": more}
        _pipe(self._process.stdin).write(json.dumps(order | {"stored_px": stored_px}) + "\n")
        _pipe(self._process.stdin).flush()
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"the stages of {self._code} failed; see above")
        found: dict[str, float] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        _pipe(self._process.stdin).close()
        self._process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _serve() -> None:
    """Run the stages of the code on PYTHONPATH for each line of orders; answer with seconds."""
    # This file's folder stands first on the path; the code's own packages must win.
    sys.path[0] = os.environ["PYTHONPATH"]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the stages print
    seconds: Counter[str] = Counter()
    _watch(seconds)
    for line in sys.stdin:
        order = json.loads(line)
        seconds.clear()
        found = {name: _stage(name, order) for name in ("score", "filter")}
        answers.write(json.dumps(dict(seconds) | found | {"total": sum(found.values())}) + "\n")
        answers.flush()


def _stage(name: str, order: dict[str, Any]) -> float:
    from importlib import import_module

    out = Path(order["out"])
    arguments = ["--source", order["source"], "--encoders", order["encoders"]]
    values = ["source.heldout_path=''", f"filter.resolution_px={order['stored_px']}"]
    values += ["filter.clip_similarity_min=-1.0", "tracking.enabled=false", *order["set"]]
    arguments += ["--params", str(Path(order["code"]) / "params.yaml")]
    arguments += [part for value in values for part in ("--set", value)]
    if name == "score":
        arguments += ["--out", str(out / "scores")]
    else:
        arguments += ["--scores", str(out / "scores"), "--out", str(out / "train")]
        arguments += ["--decisions", str(out / "decisions.parquet"), "--heldout", ""]
        arguments += ["--report", str(out / "filter.json"), "--plots", str(out / "plots")]
    start = time.process_time()
    if code := import_module(f"pipeline.stages.{name}").main(arguments):
        raise SystemExit(code)
    return time.process_time() - start


def _watch(seconds: Counter[str]) -> None:
    """Add up the processor's seconds of the functions that matter, in whichever thread they run."""
    from components.data import clip_net, decode, fingerprints

    try:
        from components import png
    except ImportError:  # an older checkout
        png = None

    lock = threading.Lock()

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any, **named: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent = time.thread_time() - start
                with lock:
                    seconds[part] += spent

        return inner

    # Before the modules that import them by name.
    for place, name, part in (
        (decode, "decode", "decode"),
        (decode, "cut_square" if hasattr(decode, "cut_square") else "centre_square", "resize"),
        (png or decode, "encode_png", "encode"),
        (decode, "encode_jpeg", "encode"),
        (decode, "encode_webp", "encode"),
        (fingerprints, "perceptual_hash", "fingerprints"),
        (fingerprints, "thumbnail", "fingerprints"),
    ):
        if hasattr(place, name):
            setattr(place, name, timed(part, getattr(place, name)))
    open_clip = clip_net.open_clip

    def opened(folder: Path) -> Any:
        net = open_clip(folder)
        net.forward = timed("clip", net.forward)
        net.encode_text = timed("clip", net.encode_text)
        return net

    clip_net.open_clip = opened


if __name__ == "__main__":
    sys.exit(main())
