"""The rules of params.yaml about data: colours, scorers, and the columns that rules name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from components.artifacts.metric_names import ABOUT_ONE_OBJECT, ABOUT_TWO_OBJECTS
from components.data.config import NAME, name_of, parse_colour
from components.data.far_files import place_of
from components.data.far_folders import is_address
from components.data.scorers import SCORERS, columns_for_rules
from components.errors import DataError
from pipeline.params.schema import Finding, given

# What is one thing for the whole training set, wherever its rows come from.
_SHARED = ("condition", "captions", "label_kind", "heldout_fraction")


def check_sources(sources: Any) -> list[Finding]:
    """Check each source's colour and address, and what several must have in common.

    Args:
        sources: all of them, None when one has problems of its own.
    """
    findings: list[Finding] = []
    for number, source in enumerate(sources or ()):
        here = ("source", str(number)) if len(sources) > 1 else ("source",)
        findings += [((*here, *path), what) for path, what in _check_source(source)]
        if number and any(getattr(source, name) != getattr(sources[0], name) for name in _SHARED):
            name = next(n for n in _SHARED if getattr(source, n) != getattr(sources[0], n))
            what = f"got {given(getattr(source, name))}; allowed: {getattr(sources[0], name)}, "
            findings.append(((*here, name), what + "as the first source: all train one model"))
    return findings + (_check_several(sources) if sources and len(sources) > 1 else [])


def _check_source(source: Any) -> list[Finding]:
    findings: list[Finding] = []
    try:
        parse_colour(source.background_rgb)
    except ValueError:
        what = f'got "{source.background_rgb}"; allowed: a colour such as "#ffffff", on which '
        what += "transparent pixels are laid, for images are RGB"
        findings.append((("background_rgb",), what))
    if not source.path:
        findings.append((("path",), 'got ""; allowed: a folder, or an address such as s3://'))
    places = {name: _check_place(getattr(source, name)) for name in ("path", "heldout_path")}
    return findings + [((name,), what) for name, what in places.items() if what]


def _check_place(text: str) -> str:
    """Return what is wrong with a path or URI, "" for nothing."""
    try:
        place_of(text)
    except DataError as error:
        return f"got {given(error.where)}; {error.todo}"
    return ""


def check_store(cluster: Any) -> list[Finding]:
    """Check the address of the store that machines without a shared folder use.

    Args:
        cluster: the section, None when it has problems of its own.
    """
    if cluster is None or not cluster.store:
        return []
    text, what = cluster.store, ""
    if not is_address(text):
        what = f"got {given(text)}; allowed: the URI of a store, such as s3://bucket/folder (a "
        what += "folder that all machines see is named by GANLINE_RUNS_DIR)"
    elif text.lower().startswith("s3://") and "@" in text.partition("?")[0]:
        what = "got keys in an address; allowed: an address without, and AWS_ACCESS_KEY_ID and "
        what += "AWS_SECRET_ACCESS_KEY in the environment of each machine"
    what = what or _check_place(text)
    return [(("cluster", "store"), what)] if what else []


def _check_several(sources: Any) -> list[Finding]:
    findings: list[Finding] = []
    names = [name_of(source) for source in sources]
    for number, name in enumerate(names):
        here = ("source", str(number), "name")
        if not re.fullmatch(NAME, name):
            findings.append((here, f"got {given(name)}; allowed: letters, digits, _ . and -"))
        elif name in names[:number]:
            what = f"two sources called {name}; allowed: a name of its own for each"
            findings.append((here, what))
    weights = [source.weight for source in sources]
    if any(weights) and not all(weights):
        here = ("source", str(weights.index(0.0)), "weight")
        findings.append((here, "got 0; allowed: above 0, for another source has a weight"))
    return findings


def check_objects(built: dict[str, Any]) -> list[Finding]:
    """Refuse nets and thresholds that know nothing of drawings of so many objects.

    Args:
        built: section name -> its dataclass, None when it has problems of its own.
    """
    drawn, encoders, publish = (built.get(n) for n in ("synthesize", "encoders", "publish"))
    if drawn is None or not drawn.pairs:
        return []
    findings: list[Finding] = []
    two, one = drawn.objects == 2, "for synthesize.objects is"
    for role in ("clip", "judge", "scorer") if two and encoders is not None else ():
        net = getattr(encoders, role)
        if net.source == "bundled":
            what = f"got bundled; allowed: train or none, {one} 2 and the bundled one knows one"
            findings.append((("encoders", role, "source"), what))
        if net.source == "train" and getattr(net.train, "mirror", False):
            what = f"got true; allowed: false, {one} 2 and captions say left and right"
            findings.append((("encoders", role, "train", "mirror"), what))
    unmeasured = ABOUT_ONE_OBJECT if two else ABOUT_TWO_OBJECTS
    for name in publish.thresholds if publish is not None else ():
        if name in unmeasured or name.partition(".")[0] in unmeasured:
            what = f"never measured; allowed: other metrics, {one} {drawn.objects}"
            findings.append((("publish", "thresholds", name), what))
    return findings


def check_scorers(built: dict[str, Any]) -> list[Finding]:
    """Check that scorers are known and have their files, and that rules name columns they write.

    Args:
        built: section name -> its dataclass, None when it has problems of its own.
    """
    score, filtering = built.get("score"), built.get("filter")
    if filtering is not None and (wrong_store := _check_place(filtering.store)):
        return [(("filter", "store"), wrong_store)]
    if score is None:
        return []
    wrong = [name for name in score.scorers if name not in SCORERS]
    if wrong:
        what = f"got {given(wrong[0])}; {_nearest(wrong[0], SCORERS)}"
        return [(("score", "scorers"), what)]
    findings = _check_heads(score)
    twice = sorted(name for name in set(score.scorers) if score.scorers.count(name) > 1)
    if twice:
        findings.append((("score", "scorers"), f"got {twice[0]} twice; allowed: once"))
    return findings if filtering is None else findings + _check_rules(score, filtering)


def _check_heads(score: Any) -> list[Finding]:
    findings: list[Finding] = []
    for name in score.heads:
        if name not in score.scorers or not SCORERS[name].weights:
            heads = [head for head in SCORERS if SCORERS[head].weights]
            what = f"unknown key; allowed: a head that score.scorers names ({', '.join(heads)})"
            findings.append((("score", "heads", name), what))
    for name in score.scorers:
        if SCORERS[name].weights and not score.heads.get(name):
            what = f"missing; allowed: the path of its weights, for score.scorers names {name}"
            findings.append((("score", "heads", name), what))
    return findings


def _check_rules(score: Any, filtering: Any) -> list[Finding]:
    findings: list[Finding] = []
    known = columns_for_rules(score.scorers)
    for number, rule in enumerate(filtering.rules):
        here = ("filter", "rules", str(number))
        if rule.column not in known:
            what = f"got {given(rule.column)}; {_nearest(rule.column, known)}"
            by = [name for name, scorer in SCORERS.items() if rule.column in scorer.columns]
            if by:
                what = f"got {given(rule.column)}; allowed with {by[0]} in score.scorers"
            findings.append(((*here, "column"), what))
        if rule.min is None and rule.max is None and rule.keep_fraction == 1.0:
            what = "asks for nothing; allowed: one of min, max, keep_fraction"
            findings.append((here, what))
        if rule.min is not None and rule.max is not None and rule.min > rule.max:
            findings.append(((*here, "min"), f"got {rule.min}; allowed: at most max, {rule.max}"))
    if "phash" not in score.scorers and filtering.near_duplicate_bits >= 0:
        what = f"got {filtering.near_duplicate_bits}; allowed: -1, or phash in score.scorers"
        findings.append((("filter", "near_duplicate_bits"), what))
    if "embedding" not in score.scorers and filtering.semantic_duplicate_cosine < 1.0:
        what = f"got {filtering.semantic_duplicate_cosine}; allowed: 1, or embedding in "
        findings.append((("filter", "semantic_duplicate_cosine"), what + "score.scorers"))
    if "clip" not in score.scorers and filtering.clip_keep_fraction < 1.0:
        what = f"got {filtering.clip_keep_fraction}; allowed: 1, or clip in score.scorers"
        findings.append((("filter", "clip_keep_fraction"), what))
    if "clip" not in score.scorers and filtering.clip_similarity_min > -1.0:
        what = f"got {filtering.clip_similarity_min}; allowed: -1, or clip in score.scorers"
        findings.append((("filter", "clip_similarity_min"), what))
    return findings


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.55)
    return f"did you mean {near[0]}?" if near else f"allowed: {', '.join(known)}"
