"""The measured numbers of a summary as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.artifacts.publishing import metric_at

BOUND = ("attribute", "both", "exchanged", "swapped_colours")
OUTLINED = ("shape", "worst")
VARIED = ("seed_variety", "seed_variety_pixels", "seed_variety_centre", "recall")
COPIED = ("memorised", "memorised_pixels", "memorised_held_out")
CLASSED = ("class_right", "class_right_real")
ALIGNED = ("clip_score", "prompt_sensitivity")


def metric_lines(summary: dict[str, Any]) -> list[str]:
    """Return one line for each thing that was measured; nothing about what was not."""
    judge = {k: v for k, v in summary["judge"].items() if v is not None}
    lines = []
    if judge:
        words = "  ".join(f"{name} {100 * value:.1f} %" for name, value in judge.items())
        lines.append(f"  judge          {words}")
    if summary.get("two_objects"):  # older summaries have none
        bound = {k: f"{100 * summary['two_objects'][k]:.1f} %" for k in BOUND}
        lines.append(
            f"  two objects    an attribute {bound['attribute']}  both {bound['both']}  exchanged "
            f"{bound['exchanged']}  swapped colours {bound['swapped_colours']}"
        )
    outlined = {k: v for k, v in summary["silhouette"].items() if v is not None}
    if outlined:
        shape, worst = (f"{100 * outlined[name]:.1f} %" for name in OUTLINED)
        lines.append(f"  outlines       shape {shape}  worst kind of image {worst}")
    varied = zip(("features", "pixels", "place"), VARIED, strict=False)
    seeds = [f"{word} {summary[k]:.2f}" for word, k in varied if summary[k] is not None]
    if seeds:
        lines.append(f"  seed variety   {'  '.join(seeds)}  (1 = as real images)")
    if summary["memorised"] is not None:
        seen, pixels, real = (f"{100 * summary[name]:.1f} %" for name in COPIED)
        lines.append(
            f"  memorised      features {seen}  pixels {pixels}  (held-out images: {real})"
        )
    if summary["class_right"] is not None:
        right, real = (f"{100 * (summary[name] or 0):.1f} %" for name in CLASSED)
        lines.append(f"  class right    {right}  (held-out images: {real})")
    found = {"net": "judge", **summary["frechet_judge"]}
    lines += _distance(found if found["before"] is not None else summary.get("frechet", found))
    score, sensitivity = (summary[name] for name in ALIGNED)
    if None not in (score, sensitivity):
        lines.append(
            f"  CLIP score     {score:.3f}, with shuffled prompts {score - sensitivity:.3f}"
        )
    if summary["base_images_per_s"] is not None:
        lines.append(f"  base stage     {summary['base_images_per_s']:.0f} images/s")
    filtered = summary["filter"]
    if filtered["in"] is not None:
        rejected = sum(filtered["rejected"].values())
        held = filtered["in"] - filtered["kept"] - rejected
        kept = f"{filtered['kept']:,} kept" + (f", {held:,} held out" if held > 0 else "")
        counts = f"{filtered['in']:,} in, {kept}, {rejected:,} rejected"
        lines.append(f"  filter         {counts}")
    if filtered["swapped_rejected"] is not None:
        lines.append(
            f"                 {100 * filtered['swapped_rejected']:.1f} % of swapped captions "
            f"rejected, {100 * filtered['clean_kept']:.1f} % of clean pairs kept"
        )
    if summary["peak_memory_gib"] is not None:
        lines.append(f"  peak memory    {summary['peak_memory_gib']:.2f} GiB, all processes")
    return lines or ["  none yet: run `make demo` or `dvc repro`"]


def _distance(found: dict[str, Any]) -> list[str]:
    """Return the line of a Frechet distance before and after training; none where a side misses."""
    before, after = found["before"], found["after"]
    if before is None or after is None:
        return []
    words = changed(before, after)
    real = found.get("training")
    told = [words] if words else []
    told += [] if real is None else [f"training images: {real:.4g}"]
    more = f"  ({'; '.join(told)})" if told else ""
    return [f"  Frechet ({found['net']}'s features)  {before:.4g} -> {after:.4g}{more}"]


def distance_of(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return net, before, after and, if known, training of the first Frechet distance; {} where
    none was measured.
    """
    for name in measured:
        if name.startswith("frechet_") or name == "fid":
            before, after = (metric_at(measured, f"{name}.{side}") for side in ("before", "after"))
            if before is not None and after is not None:
                net = "Inception" if name == "fid" else name.removeprefix("frechet_")
                real = metric_at(measured, f"{name}.training")
                more = {} if real is None else {"training": real}
                return {"net": net, "before": before, "after": after, **more}
    return {}


def changed(before: float, after: float) -> str:
    """Say how a distance compares with that before training; '' where a zero allows no ratio."""
    if before <= 0 or after <= 0:
        return ""
    lower, higher = f"{before / after:.1f}", f"{after / before:.1f}"
    if lower == higher == "1.0":
        return "about as before training"
    if after < before:
        return f"{lower} times lower"
    return f"{higher} times higher than before training"
