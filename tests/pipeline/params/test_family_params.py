"""The fields of every family are strict, and what the data cannot give is said before a run."""

import pytest

from models.families import recipes
from tests.pipeline.params.params_example import (
    adapts,
    check_mutations,
    fields_of_families,
    home_of,
    valid_of,
    wrong_keys,
)


@pytest.mark.parametrize("family", recipes())
def test_the_defaults_of_every_family_are_valid(family):
    assert wrong_keys(valid_of(family)) == {}


@pytest.mark.parametrize(
    ("family", "field", "kind"), fields_of_families(), ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_field_wrong_in_every_way_is_named(family, field, kind):
    check_mutations(lambda: valid_of(family), (*home_of(family), field), kind)


@pytest.mark.parametrize("condition", ["text", "label", "none"])
@pytest.mark.parametrize("family", [name for name in recipes() if not adapts(name)])
def test_every_family_answers_for_the_datas_condition(family, condition):
    """Whatever it names is one of its fields, and the file is refused by that key."""
    values = valid_of(family)
    values["source"]["condition"] = condition
    values["train_base"]["recipe"] |= {"guidance_weight": 0.5} if family == "stylegan_xl" else {}
    fields = {k: v for k, v in values["train_base"]["recipe"].items() if k != "name"}
    misfits = recipes()[family](**fields).misfits(condition, 32)
    assert set(misfits) <= set(fields)
    expected = {f"train_base.recipe.{field}": said for field, said in misfits.items()}
    assert wrong_keys(values) == expected
    if family == "stylegan_xl":
        says = {"guidance_weight": "got 0.5; allowed: 0, for the data has no classes"}
        assert misfits == ({} if condition == "label" else says)


CHAINS = {
    "as it should be": ([[16, 4]], [[16, 4], [64, 4]], {}),
    "no head": ([], [[64, 4]], {"16": "stem_px and heads end at 8 px, resolution_px is 16"}),
    "a head forgotten": (
        [[16, 4]],
        [[16, 4]],
        {"64": "stem_px and heads end at 16 px, resolution_px is 64"},
    ),
    "an odd factor": ([[16, 4]], [[16, 4], [48, 4]], {"64": "got sizes [8, 16, 48]"}),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_heads_is_checked_before_its_stem_trains(name):
    """And the stage that grows from the last one is not blamed for that one's heads."""
    first, second, expected = CHAINS[name]
    values = valid_of("stylegan_xl")
    values["train_base"] |= {"resolution_px": 8}
    values["train_base"]["recipe"] |= {"stem_px": 8, "heads": []}
    stage = {**values["train_base"], "start": "base", "recipe": {"heads": first}}
    values["superres"] = {"16": {**stage, "resolution_px": 16}}
    values["superres"]["64"] = {
        **stage, "start": "px16", "resolution_px": 64, "recipe": {"heads": second},
    }  # fmt: skip
    values["text_encoder"] |= {"start": "px64", "resolution_px": 64}
    found = wrong_keys(values)
    assert set(found) == {f"superres.{px}.recipe.heads" for px in expected}
    for px, said in expected.items():
        assert said in found[f"superres.{px}.recipe.heads"]


UPSAMPLED = {
    "as it should be": ({"parts": "cascade", "base_px": 16}, {}),
    "a larger base": ({}, {"parts": "got base on a base; allowed: cascade on a base"}),
    "no size": ({"parts": "cascade"}, {"base_px": "got 0; allowed: 16"}),
    "another base": ({"parts": "cascade", "base_px": 8, "up_mults": [1, 2, 4, 8, 8],
                      "up_down_mults": [4, 8], "up_attention_depths": [0, 0, 0, 0, 0]},
                     {"base_px": "got 8; allowed: 16, as the start"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UPSAMPLED)
def test_an_upsampler_is_checked_before_its_base_trains(name):
    changes, expected = UPSAMPLED[name]
    values = valid_of("gigagan")
    values["train_base"] |= {"resolution_px": 16}
    stage = {**values["train_base"], "start": "base", "recipe": changes}
    values["superres"] = {"64": {**stage, "resolution_px": 64}}
    values["text_encoder"] |= {"start": "px64", "resolution_px": 64}
    found = wrong_keys(values)
    assert set(found) == {f"superres.64.recipe.{field}" for field in expected}
    for field, said in expected.items():
        assert found[f"superres.64.recipe.{field}"].startswith(said)


def test_an_upsampler_alone_may_train_and_nothing_grows_from_it():
    values = valid_of("gigagan")
    values["superres"] = {}
    values["text_encoder"] |= {"start": "base", "resolution_px": 32}
    alone = {"parts": "upsampler", "base_px": 8}
    values["train_base"] |= {"recipe": values["train_base"]["recipe"] | alone, "resolution_px": 32}
    assert wrong_keys(values) == {}
    values["train_base"]["recipe"]["base_px"] = 16
    said = wrong_keys(values)["train_base.recipe.base_px"]
    assert said == "got 16; allowed: 8, for up_mults and up_down_mults make 32 px of a 4th"
    values["train_base"]["recipe"]["base_px"] = 8
    grown = {**values["train_base"], "start": "base", "recipe": {"base_px": 16}}
    values["superres"] = {"64": {**grown, "resolution_px": 64}}
    values["text_encoder"] |= {"start": "px64", "resolution_px": 64}
    said = wrong_keys(values)["superres.64.recipe.parts"]
    assert said.startswith("got upsampler on a upsampler; allowed: cascade on a base")


def test_a_stem_of_another_size_is_named():
    values = valid_of("stylegan_xl")
    values["train_base"]["recipe"]["stem_px"] = 64
    assert "allowed: 32" in wrong_keys(values)["train_base.recipe.stem_px"]


def test_what_an_entry_of_adapt_needs_is_named():
    values = valid_of("stylegan_nada")
    entry = values["adapt"]["made"]
    entry["start"], entry["recipe"]["target"], entry["batch"] = "", "", 3
    found = wrong_keys(values)
    assert set(found) == {
        "adapt.made.start",
        "adapt.made.recipe.target",
        "adapt.made.batch",
    }
    values = valid_of("stylegan_nada")
    values["adapt"]["made"]["recipe"] = {"name": "stylegan_t"}
    assert wrong_keys(values) == {
        "adapt.made.recipe.name": "got 'stylegan_t'; allowed: one of stylegan_nada"
    }
    values = valid_of("stylegan_nada")
    values["train_base"]["recipe"] = values["adapt"]["made"]["recipe"]
    assert "train_base.recipe.name" in wrong_keys(values)
