"""The whole measurement on generators whose quality is known."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
import torch
from torch import nn

from components.artifacts.metric_names import ABOUT_CLASSES, METRICS, is_metric
from components.data.captions import ATTRIBUTES
from components.errors import ConfigError, DataError
from components.evaluation.bench import ABOUT_TEXT, Bench
from components.evaluation.cards import IGNORES_TEXT, SAME_CLIP
from components.evaluation.config import EvaluateConfig
from components.evaluation.scores import score_generator
from models.interfaces import Condition

MEMORISED = ("memorised", "memorised_pixels", "memorised_held_out")
CONFIG = EvaluateConfig(
    num_prompts=80,
    num_fake=70,
    num_curve=40,
    truncations=(0.0, 1.0),
    batch=16,
    kernel_subset_size=30,
    kernel_subsets=4,
)


def _bench(rows, judge, clip, cache=None, config=CONFIG) -> Bench:
    training = type(rows)(num_rows=90, content_hash="c1")
    nets = {"net": judge, "clip": clip, "judge": judge}
    return Bench(source=rows, config=config, cache=cache, training=training, **nets)


def test_a_generator_that_paints_the_prompt_scores_full(rows, judge, clip, painter, cache) -> None:
    bench = _bench(rows, judge, clip, cache)
    scores = score_generator(
        bench, painter(), painter(60.0, blind=True), clip_sha256_in_training=clip.sha256
    )
    assert scores["judge"] == {
        "background": 1,
        "size": 1,
        "colour": 1,
        "shape": 1,
        "all": 1,
        "num": 80,
    }
    assert scores["real"]["judge"]["all"] == 1
    assert scores["clip_score"] == pytest.approx(1, abs=1e-5)
    assert scores["real"]["clip_score"] == pytest.approx(1, abs=1e-5)
    assert scores["prompt_sensitivity"] > 0.3
    # 80 prompts of the generator, 60 of the real rows: nearly the same pairs.
    assert scores["real"]["prompt_sensitivity"] == pytest.approx(
        scores["prompt_sensitivity"], abs=0.05
    )
    assert scores["not_measured"] == {}
    # 70 paintings of 60 rows, ten of them painted twice: nearly the same shares.
    assert scores["judge_variety"]["missing"] == 0
    assert min(scores["judge_variety"].pop(name) for name in ATTRIBUTES) > 0.85
    assert sum(scores["judge_counts"]["generated"]["shape"].values()) == 70
    assert sum(scores["judge_counts"]["real"]["shape"].values()) == 60
    frechet = scores["frechet_judge"]
    # The same 60 rows, ten of them painted twice: near 0 beside the untrained one.
    assert frechet["after"] < 0.02 * frechet["before"]
    assert frechet["ratio"] == pytest.approx(frechet["after"] / frechet["before"])
    assert scores["precision"] == scores["recall"] == scores["coverage"] == 1
    card = scores["cards"]["frechet_judge"]
    assert (card["net"], card["net_sha256"], card["num_real"], card["num_fake"]) == (
        "judge", judge.sha256, 60, 70,
    )  # fmt: skip
    assert card["data_content_hash"] == "c0"
    assert scores["cards"]["clip_score"]["note"] == SAME_CLIP
    assert scores.pop("pairs") is not None
    json.dumps(scores, allow_nan=False)


def numbers(values: dict, prefix: str = "") -> set[str]:
    """Return the dotted names of all numbers in nested scores."""
    found = set()
    for name, value in values.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)):
            found.add(prefix + name)
    return found


def test_every_number_about_a_model_can_be_a_threshold(rows, judge, clip, painter) -> None:
    scores = score_generator(_bench(rows, judge, clip), painter(20.0), painter(60.0))
    for beside in ("real", "cards", "curve", "judge_counts"):
        scores.pop(beside)
    counts = {"judge.num", "silhouette.num"}
    doubled = {name for name in numbers(scores) if "_at_" in name}  # the curve's
    named = numbers(scores) - counts - doubled
    assert {name for name in named if not is_metric(name)} == set()
    assert {"judge.shape", "seed_variety", "memorised", "frechet_judge.ratio"} <= named
    # Of another net, of other models, of the stage.
    other = {"fid", "kid", *ABOUT_CLASSES, "filter_truth", "upscaling", "two_objects"}
    written = {re.sub("judge$", "<net>", name.partition(".")[0]) for name in named} | other
    assert {name.partition(".")[0] for name in METRICS} - {"judge"} <= written | {
        "silhouette_cells"
    }


def test_a_generator_that_ignores_the_prompt_is_found_out(rows, judge, clip, painter) -> None:
    scores = score_generator(
        _bench(rows, judge, clip), painter(30.0, blind=True), painter(60.0, blind=True)
    )
    assert scores["judge"]["all"] < 0.1
    assert abs(scores["prompt_sensitivity"]) < 0.1 * scores["real"]["prompt_sensitivity"]
    # It paints the same four bands up to noise, so most kinds of image are missing.
    assert scores["judge_variety"]["missing"] > 3
    assert scores["judge_variety"]["shape"] < 0.8
    assert scores["cards"]["prompt_sensitivity"]["note"] == IGNORES_TEXT
    assert f"CLIP score {IGNORES_TEXT}" in scores["warnings"]
    assert scores["cards"]["clip_score"]["note"] == ""


def test_the_curve_holds_one_row_per_psi(rows, judge, clip, painter) -> None:
    scores = score_generator(_bench(rows, judge, clip), painter(25.0), painter(60.0))
    still, full = scores["curve"]
    assert (still["truncation"], full["truncation"]) == (0.0, 1.0)
    # psi 0 paints exactly the prompt, psi 1 adds noise.
    assert still["judge_all"] == 1
    assert full["judge_all"] < 0.9
    assert still["frechet_judge"] < full["frechet_judge"]
    assert scores["truncation"]["nearest"] == scores["truncation"]["clearest"] == 0.0


def test_the_reused_point_of_the_curve_equals_a_fresh_one(rows, judge, clip, painter) -> None:
    bench = _bench(rows, judge, clip)
    reused = score_generator(bench, painter(25.0), painter(60.0))["curve"][1]
    fresh = bench.sample(painter(25.0), 40, truncation=1.0)
    assert reused["frechet_judge"] == pytest.approx(bench.frechet(fresh), rel=1e-9)
    assert reused["judge_all"] == bench.judged(fresh)["all"]


def test_without_judge_and_clip_their_parts_are_null(rows, judge, painter) -> None:
    bench = Bench(source=rows, config=CONFIG, net=judge, clip=None, judge=None, cache=None)
    scores = score_generator(bench, painter(), painter(60.0))
    assert scores["judge"] is None
    assert scores["clip_score"] is scores["prompt_sensitivity"] is None
    assert scores["real"] == {"judge": None, "clip_score": None, "prompt_sensitivity": None}
    lacking = {*ABOUT_TEXT, "judge_variety", *MEMORISED, *ABOUT_CLASSES}
    assert set(scores["not_measured"]) == lacking
    assert not set(scores["not_measured"]) & set(scores["cards"])
    assert scores["frechet_judge"]["after"] >= 0
    assert "clearest" not in scores["truncation"]


class Blind(nn.Module):
    """A generator without text: its label's brightness, or noise alone without labels."""

    z_dim, resolution = 2, 8

    def map(self, z_ND, condition, truncation=1.0):
        level = 0 if condition.label_N is None else condition.label_N[:, None] * 0.3
        return (z_ND * 0.1 * truncation + level)[:, None]

    def synthesize(self, ws_NLD, condition, noise="const"):
        return ws_NLD[:, 0, :1, None, None].expand(-1, 3, 8, 8)


@pytest.mark.parametrize("labels", [True, False])
def test_without_text_the_rest_is_measured_and_the_reason_said(rows, judge, labels: bool) -> None:
    class Labelled:
        """The same rows without text: a class each, or nothing at all."""

        num_rows, content_hash, seed, resolution = 60, "c0", 0, 8

        def atom(self, position, size):
            label_N = (torch.arange(position, position + size) % 3) if labels else None
            batch = rows.atom(position, size)
            return dataclasses.replace(batch, condition=Condition(label_N=label_N), captions=())

    reasons = dict.fromkeys(ABOUT_TEXT, "the model takes no text")
    bench = Bench(source=Labelled(), config=CONFIG, net=judge, judge=judge, not_measured=reasons)
    scores = score_generator(bench, Blind(), Blind())
    absent = "the images that the model was trained on are not at hand"
    why = dict.fromkeys((*MEMORISED, *ABOUT_CLASSES), absent)
    assert scores["not_measured"] == reasons | why
    assert scores["judge"] is scores["clip_score"] is scores["prompt_sensitivity"] is None
    assert scores["judge_variety"]["missing"] > 0  # its bands are all equal
    assert scores["frechet_judge"]["after"] > 0
    assert None not in (scores["precision"], scores["recall"], scores["coverage"])
    assert [row["clip_score"] for row in scores["curve"]] == [None, None]
    assert set(scores["cards"]) == {
        "frechet_judge", "kernel_judge", "precision", "recall", "density", "coverage",
        "judge_variety", "seed_variety", "seed_variety_pixels",
    }  # fmt: skip
    assert scores.pop("pairs") is not None
    json.dumps(scores, allow_nan=False)


def test_measuring_changes_neither_weights_nor_randomness(rows, judge, clip) -> None:
    from models.interfaces import ConditionShape
    from models.stylegan_t.generator import StyleGANTGenerator

    generator = StyleGANTGenerator(
        resolution=8,
        shape=ConditionShape(pooled_dim=4),
        z_dim=8,
        channel_base=128,
        channel_max=16,
        num_groups=4,
    ).train()
    before = {name: x.clone() for name, x in generator.state_dict().items()}
    gathered = {name: x.clone() for name, x in generator.named_buffers()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    _bench(rows, judge, clip).sample(generator, 20)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(x, before[name]) for name, x in generator.state_dict().items())
    assert all(torch.equal(x, gathered[name]) for name, x in generator.named_buffers())
    assert generator.training
    assert generator.mapping.training


def test_a_missing_encoder_or_too_few_rows_are_named(rows, make_rows, tmp_path) -> None:
    (tmp_path / "dino").mkdir()
    (tmp_path / "dino" / "card.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"feature_role is judge, encoders here: dino"):
        Bench.open(rows, tmp_path, CONFIG, cache=None)
    config = EvaluateConfig(feature_role="dino")
    with pytest.raises(DataError, match="1 held-out rows"):
        Bench.open(make_rows(num_rows=1), tmp_path, config, cache=None)
