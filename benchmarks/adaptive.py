"""Adaptive convolution and attention: ours against the textbook form, and what a bank costs.

python -m benchmarks.adaptive [--batch 1 4] [--rounds 5] [--json FILE]

The network is a 64 px generator of gigagan-pytorch's sizes: 32 channels at 64 px to 512 at 4 px,
banks of two, one layer of attention at 16 and 32 px, 8 heads of 64. There, the two layers after
attention are as narrow as the channels; ours are as wide as all heads together, and gated, which
costs the same in both forms. So they are measured twice: narrow, and as ours are. Both forms run in
turn within each round, in one process on one thread; the least processor time of each counts. The
second table is one convolution with banks of N kernels, and the mixing of these banks alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

SIZES: dict[str, Any] = {
    "words": "none",
    "z_dim": 64,
    "w_dim": 512,
    "channel_base": 2048,
    "channel_max": 512,
    "kernels": (2,),
    "blocks": (1,),
    "attention_depths": (0, 0, 1, 1, 0),
    "attention_heads": 8,
    "head_dim": 64,
}
TINY: dict[str, Any] = {
    "channel_base": 64,
    "channel_max": 16,
    "w_dim": 16,
    "head_dim": 4,
    "attention_heads": 2,
    "norm_groups": 1,
}
BANKS = (1, 2, 4, 8, 16)


def main(argv: list[str] | None = None) -> int:
    """Measure both tables, print them, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each case")
    parser.add_argument("--tiny", action="store_true", help="a network for a test")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args(argv)

    import torch

    from benchmarks.machine import describe

    torch.set_num_threads(1)
    machine = describe("cpu")
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    cases = [(batch, narrow) for batch in options.batch for narrow in (True, False)]
    networks = [_network(*case, options.rounds, options.tiny) for case in cases]
    banks = _banks(options.rounds, options.tiny)
    result = {"machine": machine, "rounds": options.rounds, "networks": networks, "banks": banks}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def least_seconds(cases: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the least processor time of each case; they take turns within each round."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, run in cases.items():
            started = time.process_time()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - started)
    return {name: min(values) for name, values in seconds.items()}


def _network(batch: int, narrow: bool, rounds: int, tiny: bool) -> dict[str, Any]:
    """Time forward, and forward with backward, of a whole generator."""
    import torch

    from benchmarks.adaptive_plain import plain_layers
    from models.gigagan.recipe import GigaGAN
    from models.interfaces import Condition, ConditionShape

    torch.manual_seed(0)
    recipe = GigaGAN(**{**SIZES, **(TINY if tiny else {})})
    model: Any = recipe.generator(64 if not tiny else 32, ConditionShape())
    if narrow:
        _narrow(model)
    z, condition = torch.randn(batch, model.z_dim), Condition()

    def forward() -> None:
        with torch.inference_mode():
            model.synthesize(model.map(z, condition), condition)

    def both() -> None:
        model.synthesize(model.map(z, condition), condition).square().mean().backward()
        model.zero_grad()

    def in_form(run: Callable[[], None], textbook: bool) -> Callable[[], None]:
        def timed() -> None:
            with plain_layers() if textbook else contextlib.nullcontext():
                run()

        return timed

    layers = "narrow" if narrow else "ours"
    row: dict[str, Any] = {"batch": batch, "layers after attention": layers}
    row["parameters"] = sum(p.numel() for p in model.parameters())
    for what, run in (("forward", forward), ("forward + backward", both)):
        forms = {"textbook": in_form(run, True), "ours": in_form(run, False)}
        found = least_seconds(forms, rounds)
        row[what] = {name: round(value, 4) for name, value in found.items()}
        row[what]["ratio"] = round(found["textbook"] / found["ours"], 2)
        print(f"batch {batch}  {layers:<6}  {what:<19}  {_shown(row[what])}")
    sys.stdout.flush()
    return row


def _narrow(model: Any) -> None:
    """Make the layers after attention plain, and in the middle as wide as the image's channels."""
    from torch import nn

    from models.gigagan.blocks import AttentionBlock

    for block in model.modules():
        if isinstance(block, AttentionBlock):
            inner, channels = block.enter.weight.shape
            for layer in block.layers:
                layer.feed_forward = nn.Sequential(
                    nn.Linear(inner, channels), nn.GELU(), nn.Linear(channels, inner)
                )


def _banks(rounds: int, tiny: bool) -> list[dict[str, Any]]:
    """Time one convolution, forward and backward, with banks of several sizes, and their mixing."""
    import torch

    from models.gigagan.adaptive_conv import adaptive_convolution, mixed_kernels

    width, side, batch = (8, 8, 2) if tiny else (256, 16, 4)
    x = torch.randn(batch, width, side, side, requires_grad=True)
    style = torch.randn(batch, width, requires_grad=True)
    cases: dict[str, Callable[[], Any]] = {}
    for count in BANKS:
        bank = torch.randn(count, width, width, 3, 3, requires_grad=True)
        share = torch.rand(batch, count).softmax(dim=1).requires_grad_()

        def convolve(bank: Any = bank, share: Any = share, count: int = count) -> None:
            adaptive_convolution(x, bank, style, share if count > 1 else None).sum().backward()

        def mix(bank: Any = bank, share: Any = share) -> None:
            mixed_kernels(bank, share).sum().backward()

        cases[f"convolution {count}"], cases[f"mixing {count}"] = convolve, mix
    found = least_seconds(cases, rounds)
    rows = []
    for count in BANKS:
        row = {kind: round(found[f"{kind} {count}"], 5) for kind in ("convolution", "mixing")}
        rows.append({"kernels": count, **row})
        print(f"N = {count:<2}  {_shown(row)}")
    return rows


def _shown(row: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items())


if __name__ == "__main__":
    sys.exit(main())
