"""The commit that the code runs from."""

import pytest

from components.code_version import git_commit


@pytest.mark.row("C6")
def test_without_git_the_commit_is_empty(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert git_commit() == ""
