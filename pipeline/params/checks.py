"""The rules of params.yaml that involve several keys: the chain, divisibility, what needs what."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from components.artifacts.metric_names import (
    ABOUT_CLASSES,
    ABOUT_PROMPTS,
    BY_JUDGE,
    is_metric,
    why_no_metric,
)
from components.pretraining.config import OTHER_DRAWINGS, ROLES
from pipeline.params.data_checks import (
    check_objects,
    check_scorers,
    check_sources,
    check_store,
)
from pipeline.params.recipes import ALIGNED
from pipeline.params.schema import Finding, given


def cross_check(built: dict[str, Any]) -> list[Finding]:
    """Check the rules between sections; a section that failed on its own (None) is left out.

    Args:
        built: section name -> its dataclass, None when it has problems of its own.
    """
    findings: list[Finding] = []
    stages = {"train_base": built.get("train_base")}
    stages |= {f"superres.{key}": stage for key, stage in (built.get("superres") or {}).items()}
    stages["text_encoder"] = built.get("text_encoder")
    stages |= {f"adapt.{key}": stage for key, stage in (built.get("adapt") or {}).items()}
    for name, stage in stages.items():
        if dataclasses.is_dataclass(stage):
            group = _norm_batch(stages["train_base"], stage)
            wrong = _check_batch(stage, group) + _check_measuring(stage, built)
            findings += [((*name.split("."), *path), what) for path, what in wrong]
    if dataclasses.is_dataclass(stages["train_base"]) and built.get("superres") is not None:
        findings += _check_chain(built["train_base"], built["superres"])
        findings += _check_filter(built)
        if dataclasses.is_dataclass(stages["text_encoder"]):
            findings += _check_text_encoder(built)
            findings += _check_model(built)
    findings += check_sources(built.get("sources")) + check_scorers(built)
    findings += check_objects(built) + check_store(built.get("cluster"))
    findings += _check_clip(built) + _check_bundled(built) + _check_drawings(built)
    findings += _check_inception(built.get("evaluate")) + _check_nets_are_made(built)
    return findings + _check_thresholds(built)


def _norm_batch(base: Any, stage: Any) -> int:
    """Return how many samples at most share batch-norm statistics; 0 = the family has none."""
    from models.families import recipes

    own = "name" in stage.recipe  # a whole recipe, which takes nothing from the base
    fields = {**(base.recipe if base is not None and not own else {}), **stage.recipe}
    family = recipes().get(str(fields.get("name")))
    size = fields.get("norm_batch", getattr(family, "norm_batch", 0))
    return size if isinstance(size, int) else 0


def _check_batch(stage: Any, norm_batch: int) -> list[Finding]:
    findings: list[Finding] = []
    size = stage.micro_batch
    if size == "auto":  # the run takes sizes that fit both
        return findings
    if stage.batch % size:
        what = f"got {stage.batch}; allowed: a multiple of micro_batch, {size}"
        findings.append((("batch",), what))
    # As the layers cut it: the fewest groups of at most norm_batch, all of one size.
    if norm_batch > 0 and size % -(-size // norm_batch):
        below = size // norm_batch * norm_batch
        what = (
            f"got {size}; allowed: what splits into equal groups of at most {norm_batch} for "
            f"batch norm, such as {below} or {below + norm_batch}"
        )
        findings.append((("micro_batch",), what))
    return findings


def _check_measuring(stage: Any, built: dict[str, Any]) -> list[Finding]:
    """Refuse measurements without a net or held-out images, and a best that nothing measures."""
    every = stage.measure_every_kimg
    if not every:
        what = "got best; allowed: last, for measure_every_kimg is 0"
        return [(("keep_weights",), what)] if stage.keep_weights == "best" else []
    findings: list[Finding] = []
    source: Any = built.get("source")
    held_out = any(one.heldout_path for one in built.get("sources") or ())
    if source is not None and not held_out and not source.heldout_fraction:
        what = f"got {every}; allowed: 0, for source holds no images out"
        findings.append((("measure_every_kimg",), what))
    encoders: Any = built.get("encoders")
    if encoders is not None and getattr(encoders, stage.measure_role).source == "none":
        what = f"got {stage.measure_role}; allowed: a role whose encoders.*.source is not none"
        findings.append((("measure_role",), what))
    return findings


def _check_chain(base: Any, superres: dict[str, Any]) -> list[Finding]:
    findings: list[Finding] = []
    if base.start:
        findings.append(
            (("train_base", "start"), f"got {base.start!r}; allowed: '' (from nothing)")
        )
    px = {"base": base.resolution_px}
    px |= {f"px{key}": stage.resolution_px for key, stage in superres.items()}
    for key, stage in superres.items():
        here, resolution = ("superres", key), stage.resolution_px
        if key != str(resolution):
            what = f"got {resolution}; allowed: {key}, the name of the entry"
            findings.append(((*here, "resolution_px"), what))
        if stage.start == ALIGNED:  # its resolution is that of text_encoder.start
            continue
        if stage.start not in px:
            what = f"got {stage.start!r}; allowed: one of {', '.join(sorted(px))}"
            findings.append(((*here, "start"), what))
        # A stage of as many pixels as the base trains on, with other settings.
        elif px[stage.start] > resolution or stage.start == f"px{key}":
            what = f"{stage.start} has {px[stage.start]} px; allowed: another of at most {key} px"
            findings.append(((*here, "start"), what))
    return findings


def _check_filter(built: dict[str, Any]) -> list[Finding]:
    if not dataclasses.is_dataclass(built.get("filter")):
        return []
    stages = [built["train_base"], *built["superres"].values()]
    largest = max(stage.resolution_px for stage in stages)
    stored = built["filter"].resolution_px  # type: ignore[attr-defined]
    if stored >= largest:
        return []
    what = f"got {stored}; allowed: at least {largest}, the largest resolution that is trained"
    return [(("filter", "resolution_px"), what)]


def _check_text_encoder(built: dict[str, Any]) -> list[Finding]:
    """Check the stage that keeps the resolution, and whatever grows from what it leaves."""
    stage, superres = built["text_encoder"], built["superres"]
    here = "text_encoder"
    findings: list[Finding] = []
    px = {"base": built["train_base"].resolution_px}
    px |= {f"px{key}": grown.resolution_px for key, grown in superres.items()}
    after = _grown_from(ALIGNED, superres)
    before = {name: side for name, side in px.items() if name not in after}
    # Of two of one size, the later one: a stage of as many pixels goes on from the base.
    last = max(reversed(before), key=lambda name: before[name])
    if stage.start != last:
        what = f"got {given(stage.start)}; allowed: {last}, the last stage before it"
        findings.append(((here, "start"), what))
    elif stage.resolution_px != px[last]:
        what = f"got {stage.resolution_px}; allowed: {px[last]}, as {last}"
        findings.append(((here, "resolution_px"), what))
    if stage.total_kimg > 0 and stage.recipe.get("trains") in (None, "generator"):
        what = f"missing; allowed: {here} (or set {here}.total_kimg to 0)"
        findings.append(((here, "recipe", "trains"), what))
    for key, grown in superres.items():
        if grown.start != ALIGNED:
            continue
        place = ("superres", key)
        if grown.resolution_px <= stage.resolution_px:
            what = f"{ALIGNED} has {stage.resolution_px} px; allowed: below {key} px"
            findings.append(((*place, "start"), what))
        if stage.total_kimg > 0 and grown.recipe.get("trains") != "generator":
            what = "missing; allowed: generator, for the stage before trained the text encoder"
            findings.append(((*place, "recipe", "trains"), what))
    return findings


def _grown_from(name: str, superres: dict[str, Any]) -> set[str]:
    """Return the artifacts that descend from one by growing."""
    found = {name}
    for _ in superres:  # a chain is at most as long as there are entries
        found |= {f"px{key}" for key, stage in superres.items() if stage.start in found}
    return found - {name}


def _check_clip(built: dict[str, Any]) -> list[Finding]:
    source: Any = built.get("source")
    encoders: Any = built.get("encoders")
    if source is None or encoders is None:
        return []
    if source.condition != "text" or encoders.clip.source != "none":
        return []
    what = "got none; allowed: train or pretrained, for source.condition is text"
    return [(("encoders", "clip", "source"), what)]


def _check_bundled(built: dict[str, Any]) -> list[Finding]:
    """Refuse the bundled nets for anything but the embedded drawings, which alone they know."""
    sources, drawn, encoders = (built.get(name) for name in ("sources", "synthesize", "encoders"))
    if sources is None or drawn is None or encoders is None or _is_embedded(sources, drawn):
        return []
    findings: list[Finding] = []
    for role in ROLES:
        if getattr(encoders, role).source == "bundled":
            allowed = "none" if role == "judge" else "train or pretrained"
            what = f"got bundled; allowed: {allowed}, for the bundled nets know the drawings of "
            findings.append((("encoders", role, "source"), what + "synthesize alone"))
    return findings


def _check_drawings(built: dict[str, Any]) -> list[Finding]:
    """Refuse to draw nothing for a net that trains on drawings."""
    sources, drawn, encoders = (built.get(name) for name in ("sources", "synthesize", "encoders"))
    if sources is None or drawn is None or encoders is None or not _is_embedded(sources, drawn):
        return []
    findings: dict[str, Finding] = {}
    for role in ROLES:
        key = "judge_pairs" if role in OTHER_DRAWINGS else "encoders_pairs"
        pairs = getattr(drawn, key)
        if getattr(encoders, role).source == "train" and pairs < 2:
            what = f"got {pairs}; allowed: at least 2, for encoders.{role} trains on them"
            findings.setdefault(key, (("synthesize", key), what))
    return list(findings.values())


def _is_embedded(sources: Any, drawn: Any) -> bool:
    """Whether each source is a split of the drawings that the synthesize stage writes.

    The name alone is looked at here; the encoders stage, which knows the folder, looks again.
    """
    return drawn.pairs > 0 and all(Path(one.path).parent.name == "raw" for one in sources)


def _check_model(built: dict[str, Any]) -> list[Finding]:
    if not dataclasses.is_dataclass(built.get("evaluate")):
        return []
    after = _grown_from(ALIGNED, built["superres"])
    sizes = [stage.resolution_px for key, stage in built["superres"].items() if f"px{key}" in after]
    last = f"px{max(sizes)}" if sizes else ALIGNED
    model = built["evaluate"].model  # type: ignore[attr-defined]
    adapted = [f"adapted/{key}" for key in built.get("adapt") or {}]
    if model in (last, *adapted):
        return []
    allowed = ", ".join([f"{last}, the end of the chain", *adapted])
    return [(("evaluate", "model"), f"got {given(model)}; allowed: {allowed}")]


def _check_nets_are_made(built: dict[str, Any]) -> list[Finding]:
    """Refuse to measure with a net that the encoders stage does not make: found out hours later."""
    encoders: Any = built.get("encoders")
    asked: list[tuple[str, str, str]] = []
    if (evaluate := built.get("evaluate")) is not None and evaluate.feature_role != "inception":
        asked.append(("evaluate", "feature_role", evaluate.feature_role))
    if (tune := built.get("tune")) is not None and tune.trials:
        asked.append(("tune", "features", tune.features))
    what = "got {}; allowed: a role whose encoders.*.source is not none"
    return [
        ((section, key), what.format(role))
        for section, key, role in asked
        if encoders is not None and getattr(encoders, role).source == "none"
    ]


def _check_inception(evaluate: Any) -> list[Finding]:
    """Inception is a role without an encoder: it needs its file, and nothing else does."""
    if not dataclasses.is_dataclass(evaluate):
        return []
    config: Any = evaluate
    role, file = config.feature_role, config.inception_file
    if (role == "inception") == bool(file):
        return []
    allowed = (
        "'' unless feature_role is inception" if file else "a file, for feature_role inception"
    )
    return [(("evaluate", "inception_file"), f"got {given(file)}; allowed: {allowed}")]


# Metric -> the condition of the data without which it is never measured.
NEEDED = dict.fromkeys(ABOUT_PROMPTS, "text") | dict.fromkeys(ABOUT_CLASSES, "label")


def _check_thresholds(built: dict[str, Any]) -> list[Finding]:
    """Refuse thresholds that no model could ever reach: of no metric, or of one that stays null."""
    publish: Any = built.get("publish")
    if publish is None:
        return []
    source: Any = built.get("source")
    encoders: Any = built.get("encoders")
    findings: list[Finding] = []
    for name, threshold in publish.thresholds.items():
        what, group = "", name.partition(".")[0]
        if not is_metric(name):
            what = why_no_metric(name)
        elif threshold.min is None and threshold.max is None:
            what = "got neither; allowed: min, max or both"
        elif group in BY_JUDGE and encoders is not None and encoders.judge.source == "none":
            what = "never measured; allowed: other metrics, for encoders.judge.source is none"
        elif source is not None and source.condition != NEEDED.get(group, source.condition):
            what = f"never measured; allowed: other metrics, for condition is {source.condition}"
        if what:
            findings.append((("publish", "thresholds", name), what))
    return findings
