"""Whether samples show the class that was asked for, by a classifier that saw real images alone.

A prompt asks for the class of the image whose caption it is, where the data has both.

A linear classifier on a frozen net's features (a "linear probe"), fitted to the training images and
their classes. The net is the one that measures distances, so nothing that trained the generator has
a say. Legend: N real images, M generated images, D width of a feature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from components.artifacts.metric_names import ABOUT_CLASSES
from components.evaluation.features import held_out
from components.evaluation.memorisation import num_compared, training_vectors
from components.evaluation.sampled import Sampled

FEWEST = 5  # training images of a class; a class with fewer is left out
CLASSES_LIMIT = 1000  # more would make the fit the longest part of an evaluation


def fit_probe(feature_ND: Tensor, names: Sequence[str]) -> Any:
    """Return a fitted classifier, features [N, D] -> names, of standardised features.

    Args:
        feature_ND: of real images.
        names: class of each; at least two different ones.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return probe.fit(feature_ND.double().numpy(), list(names))


def share_right(probe: Any, feature_ND: Tensor, names: Sequence[str]) -> float:
    """Return the share of images whose class the probe names."""
    return float(np.mean(probe.predict(feature_ND.double().numpy()) == np.asarray(names)))


def measure_classes(bench: Any, sampled: Sampled) -> dict[str, Any]:
    """Return how often the class asked for is the one that is seen.

    Args:
        bench: the measuring bench.
        sampled: what the distances' net saw on generated images.

    Returns:
        scores: `class_right` of generated images and `class_right_real` of held-out ones, the
        ceiling; shares in [0, 1]; none for a model that is not asked for anything, or for text
        where the data has no classes or a judge names what is seen. cards and missing beside them.
    """
    by_text = bench.clip is not None
    if not bench.probes_classes:
        return {"scores": {}, "cards": {}, "missing": {}}
    names, why = bench.source.label_names if by_text else [], ""
    if bench.training is None or not bench.training.num_rows:
        why = "the images that the model was trained on are not at hand"
    else:
        count = num_compared(bench)
        training = class_names(bench.training, count, bench.config.batch, names)
        known = {name for name, images in Counter(training).items() if images >= FEWEST} - {""}
        if not 2 <= len(known) <= CLASSES_LIMIT:
            why = (
                f"{len(known)} classes of {FEWEST} training images or more: "
                f"wanted 2 to {CLASSES_LIMIT}"
            )
    if why:
        missing = dict.fromkeys(ABOUT_CLASSES, why)
        return {"scores": dict.fromkeys(ABOUT_CLASSES), "cards": {}, "missing": missing}

    feature_ND = training_vectors(bench, bench.net, num_compared(bench))["pooled"]
    probe = fit_probe(*_of_known(feature_ND, training, known))
    asked: Sequence[str] = sampled.captions
    num_real = len(bench.real_ND)
    num_read = max(num_real, len(asked)) if by_text else num_real
    real = class_names(bench.source, num_read, bench.config.batch, names)
    if by_text:  # image i is of the prompt i of the same stream
        asked = real[: len(asked)]
    drawn_MD, drawn = _of_known(sampled.feature_MD, asked, known)
    held_ND, held = _of_known(bench.real_ND, real[:num_real], known)
    scores = {
        "class_right": share_right(probe, drawn_MD, drawn) if drawn else None,
        "class_right_real": share_right(probe, held_ND, held) if held else None,
    }
    note = f"linear classifier of {len(known)} classes, fitted to {len(training)} training images"
    cards = {
        name: bench.card(bench.net, len(drawn), num_real=len(held), note=note)
        for name, value in scores.items()
        if value is not None
    }
    none = "no image of a class that the training images have"
    missing = {name: none for name, value in scores.items() if value is None}
    return {"scores": scores, "cards": cards, "missing": missing}


def class_names(source: Any, count: int, batch: int, names: Sequence[str]) -> list[str]:
    """Return the classes of the first `count` samples of a stream, "" for none.

    Args:
        source: of the rows; without text, a row's caption is its class.
        count: of samples.
        batch: how many are read at once.
        names: of the classes, where rows have captions beside them; () = the captions tell.
    """
    found: list[str] = []
    for rows in held_out(source, count, batch):
        if not names:
            found += rows.captions
            continue
        assert rows.condition.label_N is not None, "a source with classes has their numbers"
        numbers = rows.condition.label_N.tolist()
        found += [names[number] if number >= 0 else "" for number in numbers]
    return found


def _of_known(
    feature_ND: Tensor, names: Sequence[str], known: set[str]
) -> tuple[Tensor, list[str]]:
    """Return the features and names of the images whose class is known."""
    chosen = [row for row, name in enumerate(names) if name in known]
    return feature_ND[chosen], [names[row] for row in chosen]
