"""Lists of seeds, layers and psis: what is read, and one line for each mistake."""

from __future__ import annotations

import pytest

from components.errors import ConfigError
from components.requests.number_lists import parse_layers, parse_seeds, parse_truncations


def test_lists_are_read_in_the_order_given() -> None:
    assert parse_seeds("42, 0-3") == (42, 0, 1, 2, 3)
    assert parse_seeds("0,5,0", unique=False) == (0, 5, 0)
    assert parse_layers("8,0-2,1") == (0, 1, 2, 8)
    assert parse_truncations("-1,0, 0.5") == (-1.0, 0.0, 0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is neither a whole number"),
        ("1,,2", "'' is neither a whole number"),
        ("x", "'x' is neither a whole number"),
        ("1.5", "'1.5' is neither a whole number"),
        ("-1", "-1 is negative"),
        ("7-3", "the range 7-3 is empty"),
        ("1,2,1", "seed 1 is listed twice"),
        ("0-4,3", "seed 3 is listed twice"),
        ("0-9999999999999", "10000000000000 numbers"),
        (str(2**63), "seed is 9223372036854775808"),
        ("\u00b2", "is neither a whole number"),
    ],
)
def test_a_bad_list_of_seeds_is_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_seeds(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [("1,a", "'a' is not a number"), ("0,3", "psis is 3.0"), ("nan", "psis is nan"),
     ("1,1.0", "lists a number twice")],
)  # fmt: skip
def test_a_bad_list_of_psis_is_one_line(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_truncations(text)
