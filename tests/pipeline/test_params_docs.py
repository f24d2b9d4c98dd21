"""The configuration reference is complete and up to date."""

import dataclasses
from pathlib import Path

import pytest

from components.evaluation.config import CocoConfig
from models.recipes import RECIPES
from pipeline.params import SECTIONS
from pipeline.params_docs import field_docs, markdown
from pipeline.params_schema import field_types

ROOT = Path(__file__).parents[2]


def configs():
    """Yield every configuration dataclass, the nested ones too."""
    waiting, seen = [*SECTIONS.values(), *RECIPES.values(), CocoConfig], []
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
