"""Parameter files that would take memory or minutes: one line, exit code 2, within two seconds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from components.errors import ConfigError
from pipeline.params.file import ParamsError
from pipeline.params.sections import load_params
from pipeline.params.yaml_text import BYTES_LIMIT, BadYaml, read_yaml
from tests.pipeline.params.params_example import valid

LAUGHS = "l0: &l0 [ha, ha, ha]\n" + "".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGED = "m0: &m0 {a: 1, b: 2}\n" + "".join(
    f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)
HOSTILE = {
    "aliases of aliases": (LAUGHS, r"aliases that stand for [\d,]+ values"),
    "merges of merges": (MERGED, r"aliases that stand for [\d,]+ values"),
    "a long value": (f"seed: {'x' * 50_000_000}\n", "characters, more than 65,536"),
    "a long number": (f"seed: {'9' * 5_000}\n", "is no value that can be read"),
    "a deep list": ("seed: " + "[" * 50_000, "nested too deeply"),
    "a deep block": ("".join(" " * n + "a:\n" for n in range(200)), "nested deeper than 30 levels"),
    "many keys": ("".join(f"a{n}: 1\n" for n in range(5_000)), "5,000 entries, more than 1,000"),
    "a NUL byte": ("seed: \x00\n", "not YAML"),
    "an escaped NUL": ('source: {path: "a\\0b"}\n', "control characters"),
    "half a character": ('source: {path: "\\ud800"}\n', "control characters"),
    "a terminal's command": ('"\\e[2J": 1\n', r"control characters in '\\\\x1b\[2J"),
    "a day that is none": ("seed: 2026-13-45\n", "is no value that can be read"),
    "an object": ("seed: !!python/name:os.system ''\n", "params.yaml:1|is not YAML"),
}


@pytest.mark.row("G15")
@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_one_line_within_two_seconds(tmp_path: Path, name: str) -> None:
    text, says = HOSTILE[name]
    path = tmp_path / "params.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(ConfigError, match=says) as caught:
        load_params(path)
    assert time.process_time() - started < 2
    line = str(caught.value)
    assert line.isprintable() and len(line) < 500 and "params.yaml" in line
    assert not isinstance(caught.value, ParamsError)


@pytest.mark.row("G15")
@pytest.mark.parametrize("name", [n for n in HOSTILE if n != "a NUL byte"])
def test_it_is_refused_on_the_command_line_too(tmp_path: Path, name: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(valid()))
    started = time.process_time()
    with pytest.raises(ConfigError, match="--set") as caught:
        load_params(path, [f"seed={HOSTILE[name][0]}"])
    assert time.process_time() - started < 3 and len(str(caught.value)) < 500


def test_a_deep_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(valid()))
    with pytest.raises(ConfigError, match="--set"):
        load_params(path, [".".join(["a"] * 50_000) + "=1"])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "params.yaml")
    with pytest.raises(ConfigError, match="no regular file"):
        load_params(tmp_path / "params.yaml")


def test_what_lies_within_the_bounds_is_read() -> None:
    nested: object = 1
    for _ in range(25):
        nested = [nested]
    values = {"list": list(range(1_000)), "text": "x" * 40_000, "deep": nested, "more": "caf\xe9\n"}
    assert read_yaml(yaml.safe_dump(values, allow_unicode=True)) == values
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")["b"] == {"x": 1, "y": 2}
    with pytest.raises(BadYaml, match="characters"):
        read_yaml("x" * (BYTES_LIMIT + 1))
