"""When bundled nets and splits without drawings are allowed, said before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from components.pretraining.config import BUNDLED
from pipeline.params.sections import load_params
from tests.house_source import ROOT
from tests.pipeline.params.params_example import valid, wrong_keys

EMBEDDED = {"path": "data/raw/train"}


def values(source: str = "bundled", **drawn: Any) -> dict[str, Any]:
    made = valid()
    made["source"] |= EMBEDDED
    made["synthesize"] |= drawn
    for role in BUNDLED:
        made["encoders"][role]["source"] = source
    return made


def test_the_embedded_drawings_take_them_without_splits_of_their_own() -> None:
    assert wrong_keys(values(encoders_pairs=0, judge_pairs=0)) == {}


def test_the_default_takes_them(tmp_path) -> None:
    """params.yaml as it is, but for the sources: what a user would write."""
    made = yaml.safe_load((ROOT / "params.yaml").read_text())
    made["encoders"] = {role: {"source": "bundled"} for role in BUNDLED}
    made["synthesize"] |= {"encoders_pairs": 0, "judge_pairs": 0}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(made))
    assert load_params(tmp_path / "params.yaml").encoders.judge.source == "bundled"


@pytest.mark.parametrize("change", [{"pairs": 0}, {}])
def test_other_data_is_told_what_to_choose(change: dict[str, int]) -> None:
    made = values(**change)
    if not change:
        made["source"]["path"] = "pictures/train"
    wrong = wrong_keys(made)
    assert set(wrong) == {f"encoders.{role}.source" for role in BUNDLED}
    assert wrong["encoders.clip.source"] == (
        "got bundled; allowed: train or pretrained, for the bundled nets know the drawings of "
        "synthesize alone"
    )
    assert wrong["encoders.judge.source"].startswith("got bundled; allowed: none, ")


def test_no_guide_is_bundled() -> None:
    made = values()
    made["encoders"]["guide"]["source"] = "bundled"
    assert "allowed: one of" in wrong_keys(made)["encoders.guide.source"]


@pytest.mark.parametrize(
    ("role", "key"),
    [
        ("clip", "encoders_pairs"),
        ("dino", "encoders_pairs"),
        ("classifier", "encoders_pairs"),
        ("guide", "encoders_pairs"),
        ("judge", "judge_pairs"),
        ("scorer", "judge_pairs"),
    ],
)
def test_who_trains_needs_drawings(role: str, key: str) -> None:
    made = values(encoders_pairs=0, judge_pairs=0)
    made["encoders"][role]["source"] = "train"
    what = f"got 0; allowed: at least 2, for encoders.{role} trains on them"
    assert wrong_keys(made) == {f"synthesize.{key}": what}
    made["synthesize"][key] = 2
    assert wrong_keys(made) == {}


def test_other_data_needs_no_drawings_to_train_on() -> None:
    made = values("train", pairs=0, encoders_pairs=0, judge_pairs=0)
    made["encoders"]["judge"]["source"] = "none"
    made["evaluate"]["feature_role"] = "dino"
    assert wrong_keys(made) == {}


def test_two_objects_need_nets_that_know_two() -> None:
    made = values(objects=2)
    wrong = wrong_keys(made)
    assert set(wrong) == {f"encoders.{role}.source" for role in ("clip", "judge", "scorer")}
    assert wrong["encoders.judge.source"] == (
        "got bundled; allowed: train or none, for synthesize.objects is 2 and the bundled one "
        "knows one"
    )
    for role in ("clip", "judge", "scorer"):
        made["encoders"][role]["source"] = "train"
    wrong = wrong_keys(made)
    assert set(wrong) == {f"encoders.{role}.train.mirror" for role in ("clip", "scorer")}
    for role in ("clip", "scorer"):
        made["encoders"][role]["train"] = {"mirror": False}
    assert wrong_keys(made) == {}
    made["synthesize"]["objects"] = 3
    assert wrong_keys(made) == {"synthesize.objects": "got 3; allowed: one of 1, 2"}


@pytest.mark.parametrize(
    ("objects", "name"),
    [(1, "two_objects.both"), (1, "judge.shape_2"), (2, "silhouette.shape")],
)
def test_no_threshold_of_what_the_drawings_do_not_show(objects: int, name: str) -> None:
    made = values("train", objects=objects)
    for role in ("clip", "scorer"):
        made["encoders"][role]["train"] = {"mirror": False}
    made["publish"]["thresholds"] = {name: {"min": 0.5}}
    what = f"never measured; allowed: other metrics, for synthesize.objects is {objects}"
    assert wrong_keys(made) == {f"publish.thresholds.{name}": what}
    made["synthesize"]["objects"] = 3 - objects
    assert wrong_keys(made) == {}
