"""The fields of every family are strict, and what the data cannot give is said before a run."""

import pytest

from models.recipes import RECIPES
from tests.pipeline.params_example import (
    check_mutations,
    fields_of_families,
    valid_of,
    wrong_keys,
)


@pytest.mark.parametrize("family", RECIPES)
def test_the_defaults_of_every_family_are_valid(family):
    assert wrong_keys(valid_of(family)) == {}


@pytest.mark.parametrize(
    ("family", "field", "kind"), fields_of_families(), ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_field_wrong_in_every_way_is_named(family, field, kind):
    check_mutations(lambda: valid_of(family), ("train_base", "recipe", field), kind)


@pytest.mark.parametrize("condition", ["text", "label", "none"])
@pytest.mark.parametrize("family", RECIPES)
def test_every_family_answers_for_the_datas_condition(family, condition):
    """Whatever it names is one of its fields, and the file is refused by that key."""
    values = valid_of(family)
    values["source"]["condition"] = condition
    values["train_base"]["recipe"] |= {"guidance_weight": 0.5} if family == "stylegan_xl" else {}
    fields = {k: v for k, v in values["train_base"]["recipe"].items() if k != "name"}
    misfits = RECIPES[family](**fields).misfits(condition)
    assert set(misfits) <= set(fields)
    expected = {f"train_base.recipe.{field}": said for field, said in misfits.items()}
    assert wrong_keys(values) == expected
    if family == "stylegan_xl":
        says = {"guidance_weight": "got 0.5; allowed: 0, for the data has no classes"}
        assert misfits == ({} if condition == "label" else says)
