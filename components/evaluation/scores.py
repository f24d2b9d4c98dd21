"""All scores of one trained generator, with their cards, as plain values for the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from components.artifacts.family import recipe_from
from components.evaluation.bench import Bench
from components.evaluation.binding import measure_binding
from components.evaluation.cards import (
    LOW_RANK,
    NAMES_ALL,
    SAME_CLIP,
    sensitivity_note,
)
from components.evaluation.class_probe import measure_classes
from components.evaluation.distances import (
    Moments,
    frechet_distance,
    kernel_distance,
    manifold_scores,
)
from components.evaluation.enlarging import measure_enlarging
from components.evaluation.memorisation import FEWEST, measure_memorisation, training_features
from components.evaluation.nets import INCEPTION
from components.evaluation.pieces import AFTER, BEFORE
from components.evaluation.sampled import Sampled
from components.evaluation.seed_variety import measure_seeds
from components.evaluation.shapes import measure_shapes
from components.evaluation.variety import variety_scores

# Held-out images below which a distance depends on which ones they are.
FEW_REAL = 200


def score_generator(
    bench: Bench,
    after: Any,
    before: Any,
    *,
    clip_sha256_in_training: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure a trained generator against its untrained self and against the held-out rows.

    Args:
        bench: nets and held-out rows.
        after: the trained generator.
        before: a freshly initialised generator of the same recipe.
        clip_sha256_in_training: weights of the CLIP that training used, for the note on the score.
        say: prints one line of progress.

    Returns:
        Plain values: judge, silhouette, silhouette_cells, seed_variety, seed_variety_pixels,
        seed_variety_centre, memorised, memorised_pixels, memorised_held_out, class_right,
        class_right_real, upscaling (of a model with an upsampler), two_objects and
        two_objects_real (of captions of two objects), warnings, judge_variety, judge_counts,
        frechet_<net> {before, after, ratio, training}, kernel_<net>, precision, recall, density,
        coverage, clip_score, prompt_sensitivity, real, curve (rows), truncation,
        pairs (the samples nearest to training images), cards, not_measured (metric -> why its
        value is None). On Inception: fid and kid instead.
    """
    config, name = bench.config, bench.net.name
    for generator in (after, before):
        bench.give_words(generator)
    count = max(config.num_fake, config.num_prompts)
    say(f"evaluate: {count} images of the trained generator")
    sampled = bench.sample(after, count, looked=True, of=AFTER)
    untrained = bench.sample(before, config.num_fake, aligned=False, of=BEFORE)
    distances = _distances(bench, sampled.first(config.num_fake), untrained)
    real = bench.real_reference(sampled.first(config.num_prompts))
    alignment = _alignment(bench, sampled.first(config.num_prompts), real, clip_sha256_in_training)
    kinds = _variety(bench, sampled.first(config.num_fake))
    shapes = measure_shapes(bench, sampled.first(config.num_prompts), alignment["scores"]["judge"])
    say(f"evaluate: {config.variety_prompts} prompts with {config.variety_seeds} seeds each")
    seeds = measure_seeds(bench, after)
    say("evaluate: the nearest training images")
    copies = measure_memorisation(bench, sampled)
    bound = measure_binding(bench, sampled.first(config.num_prompts))
    classes = measure_classes(bench, sampled.first(config.num_prompts))
    enlarged = measure_enlarging(bench, after)
    warnings = _warned(bench, (alignment, shapes, seeds, copies), say)
    say(f"evaluate: truncation curve over psi {', '.join(map(str, config.truncations))}")
    curve = truncation_curve(bench, after, sampled)
    parts = (alignment, bound, shapes, seeds, copies, classes, enlarged, kinds, distances)
    return {
        **_joined(parts, "scores"),
        "real": real,
        "truncation": _summary(curve, _frechet_name(name)),
        "curve": curve,
        "pairs": copies["pairs"],
        "warnings": warnings,
        "cards": _joined(parts, "cards"),
        "not_measured": _not_measured(bench, parts),
    }


def _joined(parts: Sequence[dict[str, Any]], key: str) -> dict[str, Any]:
    """Return what all parts say under a key, in their order."""
    return {name: value for part in parts for name, value in part[key].items()}


def _not_measured(bench: Bench, parts: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return metric -> why its value is None: what the bench lacks goes before."""
    missing = _joined(parts, "missing")
    return {name: bench.not_measured.get(name, why) for name, why in missing.items()}


def _warned(bench: Bench, parts: Sequence[dict[str, Any]], say: Callable[[str], None]) -> list[str]:
    """Return all warnings, and say them."""
    warnings = [*_few(len(bench.real_ND)), *(text for part in parts for text in part["warnings"])]
    for warning in warnings:
        say(f"evaluate: {warning}")
    return warnings


def _few(num_real: int) -> list[str]:
    """Warn of distances to so few images that another few would give other numbers."""
    if num_real >= FEW_REAL:
        return []
    return [f"distances compare with {num_real} held-out images: below {FEW_REAL} they say little"]


def _distances(bench: Bench, sampled: Sampled, untrained: Sampled) -> dict[str, Any]:
    config, name, real_ND = bench.config, bench.net.name, bench.real_ND
    before, after = bench.frechet(untrained), bench.frechet(sampled)
    subset = {
        "subset_size": config.kernel_subset_size,
        "subsets": config.kernel_subsets,
        "seed": config.seed,
    }
    scores: dict[str, Any] = {
        _frechet_name(name): {
            "before": before,
            "after": after,
            "ratio": after / before if before > 0 else None,
            "training": training_distance(bench),
        },
        _kernel_name(name): kernel_distance(real_ND, sampled.feature_MD, **subset),
        "precision": None,
        "recall": None,
        "density": None,
        "coverage": None,
    }
    num_fake, num_real = len(sampled.feature_MD), len(real_ND)
    if min(num_fake, num_real) > config.neighbours:
        manifold = manifold_scores(real_ND, sampled.feature_MD, neighbours=config.neighbours)
        scores |= vars(manifold)
    few = f"{min(num_fake, num_real)} images are too few for {config.neighbours} neighbours"
    missing = {metric: few for metric, value in scores.items() if value is None}
    low_rank = min(num_fake, num_real) <= real_ND.shape[1]
    notes = {_frechet_name(name): LOW_RANK} if low_rank else {}
    cards = {
        metric: bench.card(bench.net, num_fake, num_real=num_real, note=notes.get(metric, ""))
        for metric in scores
        if metric not in missing
    }
    return {"scores": scores, "cards": cards, "missing": missing}


def training_distance(bench: Bench) -> float | None:
    """Return the distance that as many training images have: what to compare a model's with."""
    if bench.training is None or bench.training.num_rows < FEWEST:
        return None
    return frechet_distance(bench.real_moments, Moments.of(training_features(bench)))


def _alignment(
    bench: Bench, sampled: Sampled, real: dict[str, Any], clip_sha256_in_training: str
) -> dict[str, Any]:
    clip, judged = bench.clip_scores(sampled), bench.judged(sampled)
    scores = {
        "judge": judged,
        "clip_score": clip[0] if clip else None,
        "prompt_sensitivity": clip[1] if clip else None,
    }
    cards, ignores = {}, ""
    if judged is not None and bench.judge is not None:
        cards["judge"] = bench.card(bench.judge, int(judged["num"]))
    if clip and bench.clip is not None:
        guided = SAME_CLIP if bench.clip.sha256 == clip_sha256_in_training else ""
        ignores = sensitivity_note(clip[1], real["prompt_sensitivity"])
        for metric, notes in (
            ("clip_score", [guided]),
            ("prompt_sensitivity", [guided, ignores]),
        ):
            note = "; ".join(filter(None, notes))
            cards[metric] = bench.card(bench.clip, len(sampled.captions), note=note)
    missing = {
        "judge": "no judge among the encoders, or no caption that it can read",
        "clip_score": "no CLIP among the encoders",
        "prompt_sensitivity": "all prompts are equal" if clip else "no CLIP among the encoders",
    }
    missing = {metric: why for metric, why in missing.items() if scores[metric] is None}
    warnings = [f"CLIP score {ignores}"] if ignores else []
    return {"scores": scores, "cards": cards, "missing": missing, "warnings": warnings}


def _variety(bench: Bench, sampled: Sampled) -> dict[str, Any]:
    found = variety_scores(bench, sampled)
    if found is None or bench.judge is None:
        missing = {"judge_variety": "no judge among the encoders"}
        return {"scores": {"judge_variety": None}, "cards": {}, "missing": missing}
    num_real = len(bench.real_ND)
    card = bench.card(bench.judge, len(sampled.feature_MD), num_real=num_real, note=NAMES_ALL)
    scores = {"judge_variety": found["scores"], "judge_counts": found["counts"]}
    return {"scores": scores, "cards": {"judge_variety": card}, "missing": {}}


def truncation_curve(bench: Bench, generator: Any, sampled: Sampled) -> list[dict[str, Any]]:
    """Return one row per psi: the distance, the CLIP score and the judge's share of all-right.

    `sampled` holds images at psi 1 of the same prompts and seeds: they are not made again.
    """
    rows = []
    for truncation in bench.config.truncations:
        count = bench.config.num_curve
        if truncation == 1.0 and len(sampled.feature_MD) >= count:
            part = sampled.first(count)
        else:
            part = bench.sample(generator, count, truncation=truncation, of=AFTER)
        judged, clip = bench.judged(part), bench.clip_scores(part)
        rows.append(
            {
                "truncation": truncation,
                _frechet_name(bench.net.name): bench.frechet(part),
                "clip_score": clip[0] if clip else None,
                "judge_all": judged["all"] if judged else None,
            }
        )
    return rows


def _summary(curve: list[dict[str, Any]], distance: str) -> dict[str, Any]:
    """Return the psi that is best by distance, and the one that is best by alignment."""
    if not curve:
        return {}
    aligned = "judge_all" if curve[0]["judge_all"] is not None else "clip_score"
    nearest = min(curve, key=lambda row: row[distance])
    summary = {"nearest": nearest["truncation"], f"{distance}_at_nearest": nearest[distance]}
    if curve[0][aligned] is not None:
        clearest = max(curve, key=lambda row: row[aligned])
        summary |= {"clearest": clearest["truncation"], f"{aligned}_at_clearest": clearest[aligned]}
    return summary


def _frechet_name(net: str) -> str:
    """`fid` is the Frechet distance on the Inception of the original paper, and nothing else."""
    return "fid" if net == INCEPTION else f"frechet_{net}"


def _kernel_name(net: str) -> str:
    return "kid" if net == INCEPTION else f"kernel_{net}"


def untrained_generator(card: dict[str, Any], seed: int) -> Any:
    """Return a freshly initialised generator of an artifact's recipe; no other draw changes."""
    from models.interfaces import ConditionShape

    recipe = recipe_from({"name": card["recipe"]["name"], **card["recipe"]["fields"]})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = recipe.generator(card["resolution_px"], ConditionShape(**card["shape"]))
    return generator.eval().requires_grad_(False)
