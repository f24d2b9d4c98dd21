import tempfile
from pathlib import Path

import numpy as np
import pytest

from components.data.config import FilterConfig
from components.data.decisions import Decisions
from components.data.filtering import (
    check_enough,
    check_heldout,
    grey_facts,
    in_heldout,
    make_report,
    too_few,
)
from components.errors import DataError
from tests.components.data.makers import decided, hash_of, score_table


def reasons_of(rows, **fields):
    with tempfile.TemporaryDirectory() as folder:
        return decided(Path(folder), score_table(rows), FilterConfig(**fields)).texts().tolist()


@pytest.mark.row("B8")
@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, ""),
        ({"reason": "image.truncated", "clip_similarity": None}, "image.truncated"),
        ({"width": 31}, "filter.too_small"),
        ({"width": 32, "height": 96}, ""),
        ({"width": 32, "height": 97}, "filter.aspect"),
        ({"caption_chars": 2}, "filter.caption_short"),
        ({"caption_chars": 3}, ""),
        ({"caption_chars": 51}, "filter.caption_long"),
        ({"clip_similarity": float("nan")}, "filter.score_nan"),
        ({"clip_similarity": None}, "filter.score_nan"),
        ({"clip_similarity": float("inf")}, "filter.score_nan"),
        ({"clip_similarity": 0.2999}, "filter.clip_similarity"),
        ({"clip_similarity": 0.3001}, ""),
        ({"width": 5, "caption_chars": 0, "clip_similarity": 0.0}, "filter.too_small"),
    ],
)
def test_each_rule_at_its_threshold(row, reason):
    config = {"min_side_px": 32, "max_aspect": 3.0, "min_caption_chars": 3}
    config |= {"max_caption_chars": 50, "clip_similarity_min": 0.3}
    assert reasons_of([row, {}], **config) == [reason, ""]


@pytest.mark.row("B20")
def test_nan_is_not_kept_even_when_all_scores_are_welcome():
    assert reasons_of([{"clip_similarity": float("nan")}]) == ["filter.score_nan"]


def test_kept_fraction_keeps_the_most_similar():
    rng = np.random.default_rng(0)
    values = rng.permutation(100) / 100
    rows = [{"clip_similarity": float(v)} for v in values] + [{"width": 1, "clip_similarity": 1.0}]
    found = reasons_of(rows, clip_keep_fraction=0.8)
    assert [r == "" for r in found[:100]] == (values >= 0.2 - 1e-6).tolist()
    assert set(reasons_of(rows[:9], clip_keep_fraction=0.0)) == {"filter.clip_similarity"}


@pytest.mark.row("B13")
def test_exact_copies_keep_the_first_good_one():
    rows = [
        {"sha256": "a", "clip_similarity": 0.0},
        {"sha256": "a"},
        {"sha256": "b"},
        {"sha256": "a"},
    ]
    want = ["filter.clip_similarity", "", "", "filter.exact_duplicate"]
    assert reasons_of(rows, clip_similarity_min=0.3) == want
    assert reasons_of(rows[1:], exact_duplicates=False) == ["", "", ""]


def test_near_copies_need_hash_and_thumbnail():
    near = {"phash": hash_of(0) ^ 0b111}
    other = {"phash": hash_of(0) ^ 0b11, "thumbnail": bytes(191) + b"\x05"}
    assert reasons_of([{}, near, other]) == ["", "filter.near_duplicate", ""]
    assert reasons_of([{}, near], near_duplicate_bits=2) == ["", ""]
    assert reasons_of([{}, near], near_duplicate_bits=-1) == ["", ""]
    assert reasons_of([{}, other], near_duplicate_levels=5.0) == ["", "filter.near_duplicate"]


def test_held_out_groups_are_whole_stable_and_of_the_right_share():
    groups = [f"g{i // 3}" for i in range(6_000)]
    keys = [f"k{i}" for i in range(6_000)]
    chosen = in_heldout(groups, keys, 0, 0.1)
    assert all(len(set(chosen[i : i + 3])) == 1 for i in range(0, 6_000, 3))
    assert 0.08 < chosen.mean() < 0.12
    more = in_heldout(["new", *groups], ["x", *keys], 0, 0.1)
    assert (more[1:] == chosen).all()
    assert (in_heldout(groups, keys, 1, 0.1) != chosen).any()
    assert in_heldout([""] * 6_000, keys, 0, 0.5).mean() == pytest.approx(0.5, abs=0.03)
    assert not in_heldout(groups, keys, 0, 0.0).any() and in_heldout(groups, keys, 0, 1.0).all()


def test_the_report_counts_every_row_once():
    decisions = Decisions(("", "c", "a.b", "d"), np.array([0, 0, 2, 0, 1, 2], dtype=np.uint8))
    heldout = np.array([True, False, True, False, False, False])
    want = {"in": 6, "kept": 2, "heldout": 1, "rejected": {"a.b": 2, "c": 1}}
    assert make_report(decisions, heldout) == want


def test_too_little_left_is_an_error_with_the_reasons():
    def report(kept, **rejected):
        count = kept + sum(rejected.values())
        return {"in": count, "kept": kept, "heldout": 0, "rejected": rejected}

    config = FilterConfig(max_reject_fraction=0.5)
    check_enough(report(5, a=5), config, "here")
    with pytest.raises(DataError, match=r"6 of 11 samples rejected.*b 4, a 2 \(here\)"):
        check_enough(report(5, a=2, b=4), config, "here")
    with pytest.raises(DataError, match="nothing is left of 3 samples: a 3") as caught:
        check_enough(report(0, a=3), config, "here")
    assert caught.value.exit_code == 3
    with pytest.raises(DataError, match="the source is empty"):
        check_enough(report(0), config, "here")


@pytest.mark.parametrize(
    ("train", "heldout", "says"),
    [
        (27, 3, ["27 images to train on, fewer than 1,000", "3 images held out, fewer than 200"]),
        (1000, 199, ["199 images held out"]),
        (999, 200, ["999 images to train on"]),
        (1000, 200, []),
    ],
)
def test_few_images_are_said_with_their_consequence(train, heldout, says):
    lines = too_few(train, heldout)
    assert len(lines) == len(says) and all(map(str.startswith, lines, says))


def test_everything_held_out_says_so():
    report = {"in": 6, "kept": 0, "heldout": 5, "rejected": {"a": 1}}
    with pytest.raises(DataError, match=r"all 5 samples that are left are held out.*fraction"):
        check_enough(report, FilterConfig(), "here")


@pytest.mark.parametrize("count", [3, 5, 40])
def test_too_few_held_out_names_the_fraction_that_does(count):
    keys, groups = [f"k{i}.png" for i in range(count)], [""] * count
    report = {"in": count, "kept": count, "heldout": 0, "rejected": {}}
    with pytest.raises(DataError, match=rf"0 of {count} rows held out.*set it to 0\.") as caught:
        check_heldout(report, groups, keys, 1)
    fraction = float(caught.value.todo.split()[-1])
    assert 2 <= in_heldout(groups, keys, 1, fraction).sum() < count
    assert in_heldout(groups, keys, 1, fraction - 0.001).sum() < 2
    check_heldout(report | {"heldout": 2}, groups, keys, 1)
    with pytest.raises(DataError, match="add images, or set it to 0"):
        check_heldout(report, groups[:2], keys[:2], 1)
    with pytest.raises(DataError, match="add images, or set it to 0"):
        check_heldout(report, ["one"] * count, keys, 1)


def test_captions_of_one_image_are_no_copies_of_each_other():
    first = {"shard": "a.tar", "offset": 512, "sha256": "a", "phash": 1, "thumbnail": bytes(192)}
    copy = first | {"offset": 4096}
    rows = [
        first | {"key": "a"},
        first | {"key": "a#2"},
        copy | {"key": "b"},
        copy | {"key": "b#2"},
    ]
    assert reasons_of(rows) == ["", "", *2 * ["filter.exact_duplicate"]]
    rows[2]["sha256"] = rows[3]["sha256"] = "other file"
    assert reasons_of(rows) == ["", "", *2 * ["filter.near_duplicate"]]


def test_the_range_of_grey_is_told():
    pieces = [np.array([], np.int32), np.array([4000], np.int32), np.array([4095], np.int32)]
    assert grey_facts(pieces) == {"grey_16_bit": {"images": 2, "largest_value": 4095}}
    assert grey_facts(pieces[:1]) == {} == grey_facts([])
