import pytest

from tests.pipeline.params.params_example import valid
from tests.pipeline.params.test_params import problems


@pytest.mark.parametrize("colour", ["transparent", "#ffffff00", "white", ""])
def test_transparency_cannot_be_kept_and_says_so(tmp_path, colour):
    values = valid()
    values["source"]["background_rgb"] = colour
    (line,) = problems(tmp_path, values).values()
    assert "source.background_rgb" in line and "images are RGB" in line
