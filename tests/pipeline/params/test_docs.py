"""The configuration reference is complete and up to date."""

import ast
import dataclasses
from pathlib import Path

import pytest

from components.evaluation.config import CocoConfig
from components.training.config import TrainConfig
from models.families import recipes
from pipeline.params.docs import field_docs, markdown
from pipeline.params.schema import field_types
from pipeline.params.sections import SECTIONS
from tests.house_source import PACKAGES, python_files, tree_of

ROOT = Path(__file__).parents[3]


def configs():
    """Yield every configuration dataclass, the nested ones too."""
    waiting, seen = [*SECTIONS.values(), *recipes().values(), CocoConfig], []
    while waiting:
        config = waiting.pop()
        if config not in seen:
            seen.append(config)
            waiting += [k for k in field_types(config).values() if dataclasses.is_dataclass(k)]
    return [config for config in seen if isinstance(config, type)]


def test_the_page_in_docs_is_what_the_command_prints():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    todo = "run: python -m pipeline.params --markdown > docs/configuration.md"
    assert page == markdown(), todo


@pytest.mark.parametrize("config", configs(), ids=lambda config: config.__name__)
def test_every_field_has_a_line_of_doc(config):
    docs = field_docs(config)
    assert [field.name for field in dataclasses.fields(config) if not docs.get(field.name)] == []


def test_both_ways_to_document_a_field_are_read():
    below, listed = field_docs(SECTIONS["cluster"]), field_docs(SECTIONS["filter"])
    assert below["use_gpu"].startswith("Train on GPUs")
    assert listed["max_aspect"] == "longer side divided by shorter side."
    assert listed["min_caption_chars"] == listed["max_caption_chars"]


def test_no_key_of_a_training_is_without_effect():
    """The published code parses options that nothing reads (pitfall 3): here every key is read."""
    trainings = [TrainConfig, SECTIONS["cluster"], *recipes().values()]
    trees = [tree_of(file) for file in python_files(*PACKAGES)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    read = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    keys = {field.name for config in trainings for field in dataclasses.fields(config)}
    assert sorted(keys - read) == []
