"""Scorers and the columns that rules name are checked before anything runs."""

import pytest

from tests.pipeline.params.test_params import problems, valid


def found(tmp_path, score=None, filtering=None):
    values = valid()
    values["score"] |= score or {}
    values["filter"] |= filtering or {}
    return problems(tmp_path, values)


@pytest.mark.parametrize(
    ("score", "filtering", "key", "message"),
    [
        ({"scorers": ["clip", "sharpnes"]}, {}, "score.scorers", "did you mean sharpness?"),
        ({"scorers": ["clip", "clip", "phash"]}, {}, "score.scorers", "clip twice"),
        ({"scorers": ["clip", "phash", "nsfw"]}, {}, "score.heads.nsfw", "missing"),
        ({"heads": {"nsfw": "a.pth"}}, {}, "score.heads.nsfw", "a head that score.scorers names"),
        ({}, {"rules": [{"column": "with", "min": 1}]}, "filter.rules.0.column", "mean width?"),
        ({}, {"rules": [{"column": "entropy", "min": 1}]}, "filter.rules.0.column", "with entropy"),
        ({}, {"rules": [{"column": "width"}]}, "filter.rules.0", "asks for nothing"),
        ({}, {"rules": [{"column": "width", "min": 9, "max": 3}]}, "filter.rules.0.min", "at most"),
        ({}, {"rules": [{"column": "width", "least": 9}]}, "filter.rules.0.least", "unknown key"),
        ({"scorers": ["clip"]}, {}, "filter.near_duplicate_bits", "or phash in score.scorers"),
        (
            {"scorers": ["phash"]},
            {"clip_similarity_min": 0.2},
            "filter.clip_similarity_min",
            "or clip in score.scorers",
        ),
        (
            {"scorers": ["phash"]},
            {"clip_keep_fraction": 0.5, "clip_similarity_min": -1.0},
            "filter.clip_keep_fraction",
            "or clip in score.scorers",
        ),
    ],
)
def test_what_no_column_answers_is_named(tmp_path, score, filtering, key, message):
    assert message in found(tmp_path, score, filtering)[key]


def test_columns_of_chosen_scorers_are_accepted(tmp_path):
    score = {"scorers": ["clip", "phash", "entropy", "aesthetic"], "heads": {"aesthetic": "a.pth"}}
    rules = [{"column": "entropy", "min": 1}, {"column": "aesthetic", "keep_fraction": 0.5}]
    assert found(tmp_path, score, {"rules": [*rules, {"column": "width", "max": 9_999}]}) == {}
