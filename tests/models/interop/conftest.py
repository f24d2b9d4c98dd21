from pathlib import Path

import pytest


@pytest.fixture
def parity_folder():
    return Path(__file__).parents[2] / "fixtures" / "parity"
