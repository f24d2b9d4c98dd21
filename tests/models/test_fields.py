"""Fields that come later: at the value that acts as before they change no fingerprint."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import pytest

from models.families import recipes
from models.fields import AddedLater, Between, without_later
from pipeline.fingerprint import training_fingerprint
from pipeline.params.schema import check, check_overrides, describe, field_types
from pipeline.params.sections import SECTIONS


@dataclass(frozen=True, kw_only=True)
class Before:
    width: Annotated[int, Between(1, None)] = 8
    policy: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class After(Before):
    pull: Annotated[float, Between(0.0, None), AddedLater(0.0)] = 0.0
    depths: Annotated[tuple[int, ...], AddedLater((1, 2))] = (1, 2)
    # A default that is better than what was done before is another training.
    views: Annotated[int, AddedLater(1)] = 4


def fingerprint(config: Before) -> str:
    recipe = without_later(type(config), dataclasses.asdict(config))
    stage = {"revision": 1, "batch": 8}
    return training_fingerprint(
        seed=0, stage=stage, recipe=recipe, data_hash="d", encoder_hashes={}, start_hash=""
    )


def test_at_the_value_of_before_the_fingerprint_is_the_old_one():
    assert fingerprint(After(views=1)) == fingerprint(Before())
    assert fingerprint(After(views=1, width=9)) == fingerprint(Before(width=9))
    values = {"pull": 0, "depths": [1, 2], "views": 1, "width": 8}  # as YAML and JSON give them
    assert without_later(After, values) == {"width": 8}


@pytest.mark.parametrize("change", [{"pull": 0.1}, {"depths": (2, 1)}, {"views": 4}])
def test_every_other_value_is_another_training(change):
    found = fingerprint(dataclasses.replace(After(views=1), **change))
    assert found != fingerprint(Before())
    assert len({found, fingerprint(After(views=1)), fingerprint(After(pull=7.0))}) == 3


def test_old_fields_stay_at_their_defaults_and_unknown_keys_stay():
    assert without_later(Before, {"width": 8, "name": "x"}) == {"width": 8, "name": "x"}


def test_the_mark_leaves_check_and_description_as_they_are():
    assert check(After, {"pull": -1.0})[1] == [
        (("pull",), "got -1.0; allowed: a number, at least 0.0")
    ]
    assert check(After, {"pull": 2})[0] == After(pull=2.0)
    assert describe(field_types(After)["pull"]) == "a number, at least 0.0"


@pytest.mark.parametrize(
    "config", [*recipes().values(), *SECTIONS.values(), After], ids=lambda config: config.__name__
)
def test_a_marked_field_may_be_left_at_the_value_of_before(config: type):
    """What stands in the mark is a value that the field itself allows."""
    for field, kind in field_types(config).items():
        for mark in getattr(kind, "__metadata__", ()):
            if isinstance(mark, AddedLater):
                assert check_overrides(config, {field: mark.before}) == []
