"""`micro_batch` is a number or auto, in params.yaml and on the command line."""

import pytest

from tests.pipeline.params.params_example import valid
from tests.pipeline.params.test_params import problems


def test_it_may_be_left_to_the_run(tmp_path):
    values = valid()
    values["train_base"] |= {"micro_batch": "auto", "batch": 24}
    assert problems(tmp_path, values) == {}


@pytest.mark.parametrize("value", ["Auto", "8", 0, -8, 2.5, True, None, [8]])
def test_all_else_is_named_with_what_is_allowed(tmp_path, value):
    values = valid()
    values["train_base"]["micro_batch"] = value
    line = problems(tmp_path, values)["train_base.micro_batch"]
    assert 'allowed: "auto" or a whole number, at least 1' in line
