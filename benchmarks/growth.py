"""What each growth of a chain did at the old resolution, and whether the stem is bit-unchanged.

python -m benchmarks.growth artifacts/base artifacts/px32 artifacts/px64
    [--data data/train] [--encoders artifacts/encoders] [--net judge] [--repeats 3] [--json FILE]

Both networks draw the same held-out conditions with the same seeds; the grown one's images are
averaged down to the old resolution, as the held-out images are. Both distances are taken from the
same held-out images by the same net, `--repeats` times with other seeds, since a distance of few
images moves. The stem is compared tensor by tensor, bit by bit. Prints a table and, as its last
line, JSON. Nothing passes or fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import describe
from components.artifacts.artifact import load_generator
from components.data.batches import BatchSource, as_images
from components.errors import ConfigError, GanlineError
from components.evaluation.bench import Bench
from components.evaluation.config import EvaluateConfig
from components.sampling import to_uint8


def main(argv: list[str] | None = None) -> int:
    """Measure every growth, print the table and JSON; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth")
    parser.add_argument("chain", type=Path, nargs="+", help="artifacts, each grown from the last")
    parser.add_argument("--data", type=Path, default=Path("data/train"), metavar="FOLDER")
    parser.add_argument("--encoders", type=Path, default=Path("artifacts/encoders"))
    parser.add_argument("--net", default="judge", help="role of the net that measures")
    parser.add_argument("--num", type=int, default=2000, help="generated images per measurement")
    parser.add_argument("--repeats", type=int, default=3, help="measurements, each of other seeds")
    parser.add_argument("--seed", type=int, default=0, help="of the first image")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything here too")
    options = parser.parse_args(argv)
    if len(options.chain) < 2:
        parser.error("name at least two artifacts: the one before growth, and the grown one")
    torch.set_num_threads(options.threads)
    pairs = zip(options.chain, options.chain[1:], strict=False)
    try:
        growths = [measure(before, after, options) for before, after in pairs]
    except GanlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    facts = {"machine": describe("cpu"), "net": options.net, "num_fake": options.num}
    result = {**facts, "seed": options.seed, "growths": growths}
    _print(growths)
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


class Reduced(nn.Module):
    """A generator of smaller images: its own as a PNG holds them, averaged down.

    Args:
        generator: a Generator.
        resolution: a divisor of its own, in pixels.
    """

    def __init__(self, generator: Any, resolution: int) -> None:
        super().__init__()
        self.generator, self.resolution, self.z_dim = generator, resolution, generator.z_dim

    def map(self, *arguments: Any, **options: Any) -> Tensor:
        """Return the generator's codes."""
        ws: Tensor = self.generator.map(*arguments, **options)
        return ws

    def synthesize(self, ws_NLD: Tensor, condition: Any = None, noise: Any = "const") -> Tensor:
        """Return images [N, 3, resolution, resolution] in [-1, 1]."""
        pixels_NHWC = to_uint8(self.generator.synthesize(ws_NLD, condition, noise=noise))
        return as_images(torch.from_numpy(pixels_NHWC), self.resolution)


def measure(before: Path, after: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return what one growth did: distances and the judge's shares before and after, the stem.

    Raises:
        ConfigError: the second artifact's images are not a multiple of the first one's.
        StorageError: an artifact cannot be read.
    """
    (old, old_card), (new, new_card) = load_generator(before), load_generator(after)
    small, large = old_card["resolution_px"], new_card["resolution_px"]
    if large <= small or large % small:
        what = f"{before.name} has {small} px and {after.name} {large} px"
        raise ConfigError(what, "benchmarks.growth", "name the artifacts in the order of growth")
    generators = {"before": old, "after": Reduced(new, small)}
    frechet: dict[str, list[float]] = {name: [] for name in generators}
    judge: dict[str, list[dict[str, float]]] = {name: [] for name in generators}
    bench = _bench(old_card, options)
    for repeat in range(options.repeats):
        config = dataclasses.replace(bench.config, seed=options.seed + repeat * options.num)
        seeded = dataclasses.replace(bench, config=config)
        for name, generator in generators.items():
            sampled = seeded.sample(generator, options.num)
            frechet[name].append(bench.frechet(sampled))
            if shares := seeded.judged(sampled):
                judge[name].append(shares)
    return {
        "from": before.name,
        "to": after.name,
        "measured_px": small,
        "num_real": len(bench.real_ND),
        "frechet": frechet,
        "judge": {name: _mean(rows) for name, rows in judge.items() if rows},
        "stem": compare_stem(old.state_dict(), new.state_dict(), getattr(new, "in_head", _nothing)),
    }


def compare_stem(
    old: Mapping[str, Tensor], new: Mapping[str, Tensor], in_head: Callable[[str], bool]
) -> dict[str, Any]:
    """Return how many tensors growth kept, which of them it changed, and what it cut.

    Args:
        old, new: the tensors of both generators by name.
        in_head: name -> whether it belongs to what growth added, where names are used again.
    """
    kept = [name for name in old if name in new and not in_head(name)]
    grown = [name for name in new if name not in kept]
    changed = [name for name in kept if _bits(old[name]) != _bits(new[name])]
    cut = {".".join(name.split(".")[:3]) for name in old if name not in kept}
    values = {"kept_values": kept, "grown_values": grown}
    return {
        "kept_tensors": len(kept),
        **{key: sum(new[name].numel() for name in names) for key, names in values.items()},
        "changed": changed,
        "cut": sorted(cut),
        "unchanged": bool(kept) and not changed,
    }


def _nothing(name: str) -> bool:
    """Stand in for `in_head` where growth uses no name again."""
    return False


def _bits(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tuple(tensor.shape), tensor.detach().cpu().numpy().tobytes()


def _bench(card: Mapping[str, Any], options: argparse.Namespace) -> Bench:
    """Open the nets and the held-out images at the resolution before growth."""
    config = EvaluateConfig(feature_role=options.net, num_fake=options.num, seed=options.seed)
    return Bench.open(
        BatchSource(options.data, "heldout", card["resolution_px"], config.seed),
        options.encoders,
        config,
        cache=None,
        takes_text=bool(card["shape"]["pooled_dim"]),
        takes_label=bool(card["shape"]["num_labels"]),
    )


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.fmean(row[key] for row in rows), 4) for key in rows[0]}


def _print(growths: list[dict[str, Any]]) -> None:
    print(f"{'growth':<18}{'at px':>6}{'before':>10}{'after':>10}{'change':>9}  judge's shares")
    for growth in growths:
        before, after = (statistics.fmean(growth["frechet"][k]) for k in ("before", "after"))
        name = f"{growth['from']} -> {growth['to']}"
        change = f"{100 * (after / before - 1):+.1f} %" if before else ""
        shares = [
            f"{key} {growth['judge']['before'][key]:.3f} -> {growth['judge']['after'][key]:.3f}"
            for key in growth["judge"].get("before", {})
            if key not in ("all", "num")
        ]
        print(
            f"{name:<18}{growth['measured_px']:>6}{before:>10.2f}{after:>10.2f}{change:>9}  "
            + ", ".join(shares)
        )
        pairs = zip(growth["frechet"]["before"], growth["frechet"]["after"], strict=True)
        print("    each: " + ", ".join(f"{b:.2f} -> {a:.2f}" for b, a in pairs))
        print(f"    stem: {_in_words(growth['stem'])}")


def _in_words(stem: dict[str, Any]) -> str:
    if stem["changed"]:
        names, total = stem["changed"], stem["kept_tensors"]
        return f"CHANGED in {len(names)} of {total} tensors: {', '.join(names[:5])}"
    said = "bit-unchanged" if stem["unchanged"] else "nothing was kept"
    return (
        f"{said}, {stem['kept_tensors']} tensors of {stem['kept_values']:,} values; cut: "
        f"{', '.join(stem['cut']) or 'nothing'}; new: {stem['grown_values']:,} values"
    )


if __name__ == "__main__":
    raise SystemExit(main())
