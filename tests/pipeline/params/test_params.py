"""Every wrong key of params.yaml is named with its line, without torch, nothing written."""

import dataclasses
import resource
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml

from components.errors import ConfigError
from models.fields import Between
from pipeline.params.file import ParamsError
from pipeline.params.schema import check, describe
from pipeline.params.sections import SECTIONS, load_params
from tests.house_source import presets
from tests.pipeline.params.params_example import RECIPE, check_mutations, put, schema, valid

ROOT = Path(__file__).parents[3]


def problems(tmp_path, values) -> dict[str, str]:
    """Return what is wrong with these values: dotted key -> the whole line."""
    text = values if isinstance(values, str) else yaml.safe_dump(values, sort_keys=False)
    path = tmp_path / "params.yaml"
    path.write_text(text)
    try:
        load_params(path)
    except ParamsError as error:
        return {
            problem.key: line for problem, line in zip(error.problems, error.lines, strict=True)
        }
    return {}


def test_a_complete_file_is_accepted(tmp_path):
    assert problems(tmp_path, valid()) == {}


@pytest.mark.row("C1")
@pytest.mark.parametrize(
    ("path", "kind"), schema(), ids=lambda x: ".".join(x) if isinstance(x, tuple) else ""
)
def test_every_key_wrong_in_every_way_is_named(path, kind):
    check_mutations(valid, path, kind)


@pytest.mark.parametrize("name", ["seed", "superres", *[n for n in SECTIONS if n != "superres"]])
def test_every_missing_section_is_named(tmp_path, name):
    values = valid()
    del values[name]
    assert "missing; allowed: " in problems(tmp_path, values)[name]


def test_missing_keys_without_a_default_are_named(tmp_path):
    values = valid()
    del values["train_base"]["batch"]
    del values["source"]["path"]
    found = problems(tmp_path, values)
    assert set(found) == {"train_base.batch", "source.path"}
    assert found["train_base.batch"].endswith("missing; allowed: a whole number, at least 1")


@pytest.mark.row("C1")
def test_all_problems_come_at_once_with_their_lines(tmp_path):
    text = yaml.safe_dump(valid(), sort_keys=False).splitlines()
    base = text.index("train_base:")
    line = next(i for i in range(base, len(text)) if text[i].strip().startswith("total_kimg"))
    text[line] = "  total_kimg: -1"
    seed = next(i for i, row in enumerate(text) if row.startswith("seed"))
    text[seed] = "sead: 1"
    found = problems(tmp_path, "\n".join(text))
    assert found["train_base.total_kimg"].split(":")[1] == str(line + 1)
    assert found["sead"].split(":")[1] == str(seed + 1)
    assert "did you mean seed?" in found["sead"]
    assert "seed" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", "given twice, first in line 1"),
        ("seed: 1e-4\n", 'got "1e-4"; allowed: a whole number'),
        ("train_base:\n  total_kimg: 1e-4\n", "write 1.0e-4"),
        ("filter:\n  resolution_px: '64'\n", 'got "64"; allowed: a whole number from 8 to 2048'),
        ("source:\n  kind: on\n", "put quotes around it"),
        ("score:\n", "got nothing; allowed: a section with"),
    ],
)
def test_the_traps_of_yaml_get_a_hint(tmp_path, text, message):
    assert any(message in line for line in problems(tmp_path, text).values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed:\t1\n\tx: 2\n", "spaces"),
        ("seed: [1, 2\n", ":2"),
        ("- 1\n", "holds no sections"),
        ("a: &a\n  b: *a\n", "alias"),
        ("? [1, 2]\n: 3\n", "a key must be text"),
        ("a: !!python/name:os.getcwd ''\n", "params.yaml:1"),
    ],
)
def test_what_is_not_a_mapping_of_sections_is_one_error(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        problems(tmp_path, text)


def test_a_missing_or_binary_file_is_one_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_params(tmp_path / "none.yaml")
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_params(tmp_path / "params.yaml")


def test_numeric_keys_and_anchors_are_read(tmp_path):
    values = valid()
    values["superres"] = {64: values["superres"]["64"]}
    assert problems(tmp_path, values) == {}
    text = yaml.safe_dump(valid(), sort_keys=False)
    text = text.replace("train_base:\n", "train_base: &base\n", 1)
    assert problems(tmp_path, text) == {}


@pytest.mark.parametrize(
    ("path", "value", "key", "message"),
    [
        (
            ("train_base", "batch"),
            33,
            "train_base.batch",
            "a multiple of micro_batch, 16",
        ),
        (
            ("superres", "64", "resolution_px"),
            128,
            "superres.64.resolution_px",
            "64",
        ),
        (("superres", "64", "start"), "px32", "superres.64.start", "one of base, px64"),
        (("superres", "64", "start"), "px64", "superres.64.start", "another of at most 64 px"),
        (("train_base", "start"), "px64", "train_base.start", "from nothing"),
        (("filter", "resolution_px"), 32, "filter.resolution_px", "at least 64"),
        (("evaluate", "model"), "base", "evaluate.model", "aligned, the end of the chain"),
        (
            ("train_base", "recipe", "name"),
            "stylegan_tt",
            "train_base.recipe.name",
            "mean stylegan_t",
        ),
        (
            ("superres", "64", "recipe", "name"),
            RECIPE,
            "superres.64.recipe.name",
            "family of its base",
        ),
        (
            ("superres", "64", "recipe", "clip_wait"),
            1,
            "superres.64.recipe.clip_wait",
            "clip_weight",
        ),
        (
            ("superres", "64", "recipe", "clip_weight"),
            -1,
            "superres.64.recipe.clip_weight",
            "at least",
        ),
        (("superres",), [], "superres", "one entry per resolution"),
        (("text_encoder", "start"), "base", "text_encoder.start", "px64, the last stage"),
        (("text_encoder", "resolution_px"), 32, "text_encoder.resolution_px", "64, as px64"),
        (("text_encoder", "recipe"), {}, "text_encoder.recipe.trains", "set text_encoder.total_"),
        (("text_encoder", "recipe", "trains"), "x", "text_encoder.recipe.trains", "one of"),
        (("encoders", "clip", "source"), "none", "encoders.clip.source", "condition is text"),
        (("seed",), -1, "seed", "from 0 to"),
    ],
)
def test_rules_between_keys(tmp_path, path, value, key, message):
    values = valid()
    put(values, path, value)
    assert message in problems(tmp_path, values)[key]


@pytest.mark.parametrize("stage", ["train_base", "superres.64", "text_encoder"])
def test_what_cannot_be_measured_is_refused_at_once(tmp_path, stage):
    values = valid()
    measured = {"measure_every_kimg": 2.0, "measure_role": "dino", "keep_weights": "best"}
    put(values, (*stage.split("."), "keep_weights"), "best")
    line = problems(tmp_path, values)[f"{stage}.keep_weights"]
    assert line.endswith("got best; allowed: last, for measure_every_kimg is 0")
    for name, value in measured.items():
        put(values, (*stage.split("."), name), value)
    assert problems(tmp_path, values) == {}
    put(values, ("encoders", "dino", "source"), "none")
    put(values, ("tune", "trials"), 0)
    put(values, ("source", "heldout_path"), "")
    put(values, ("source", "heldout_fraction"), 0.0)
    found = problems(tmp_path, values)
    assert set(found) == {f"{stage}.measure_every_kimg", f"{stage}.measure_role"}
    assert "got 2.0; allowed: 0, for source holds no images out" in str(found)


@pytest.mark.row("C3")
def test_a_setting_of_the_command_line_wins_and_is_checked(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(valid()))
    assert load_params(path, ["tune.trials=20"]).tune.trials == 20
    low = ["superres={}", "text_encoder.start=base", "text_encoder.resolution_px=32"]
    assert load_params(path, low).superres == {}
    with pytest.raises(ParamsError) as caught:
        load_params(path, ["tune.trails=20"])
    assert "did you mean trials?" in caught.value.lines[0]
    with pytest.raises(ConfigError, match="write --set"):
        load_params(path, ["tune.trials"])


@pytest.mark.row("C1")
def test_the_error_leaves_no_trace_and_loads_no_torch(tmp_path):
    values = valid()
    values["score"] = {**values["score"], "batch": 0, "bach": 3}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pipeline.stages.frame import run_stage\n"
        "code = run_stage('score', arguments=lambda p: None, work=lambda c: 1 / 0, argv=[])\n"
        "heavy = {'torch', 'mlflow', 'ray', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules)\n"
        "print(heavy or 'light'); sys.exit(code)\n"
    )
    before = sorted(tmp_path.rglob("*"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-B", "-c", code, str(ROOT)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used < 2.0
    assert result.returncode == 2
    assert result.stdout.strip() == "light"
    lines = result.stderr.strip().splitlines()
    assert "score.batch: got 0; allowed: a whole number, at least 1" in lines[0] + lines[1]
    assert lines[-1] == "error: 2 problems in the parameters (params.yaml): correct each line above"
    assert sorted(tmp_path.rglob("*")) == before


def test_types_are_said_in_words():
    assert describe(Annotated[int, Between(1, 8)]) == "a whole number from 1 to 8"
    assert describe(float | None) == "a number or null"
    assert describe(Literal["a", "b"]) == 'one of "a", "b"'
    assert describe(tuple[int, ...]) == "a list, each a whole number"


def test_a_whole_number_may_fill_a_float_and_a_list_a_tuple():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config:
        rate: float
        names: tuple[str, ...]

    value, findings = check(Config, {"rate": 1, "names": ["a"]})
    assert findings == []
    assert (value.rate, value.names, type(value.rate)) == (1.0, ("a",), float)


@pytest.mark.parametrize(
    "path",
    [*presets(), ROOT / "params.yaml"],
    ids=lambda p: p.name,
)
def test_every_preset_is_valid(path):
    load_params(path)


def test_a_chain_may_grow_from_the_trained_text_encoder(tmp_path):
    values = valid()
    values["text_encoder"] |= {"start": "base", "resolution_px": 32}
    values["superres"]["64"] |= {"start": "aligned", "recipe": {}}
    found = problems(tmp_path, values)
    assert "generator, for the stage before" in found["superres.64.recipe.trains"]
    values["superres"]["64"]["recipe"] = {"trains": "generator"}
    assert "px64, the end of the chain" in problems(tmp_path, values)["evaluate.model"]
    values["evaluate"]["model"] = "px64"
    assert problems(tmp_path, values) == {}
    values["text_encoder"]["start"] = "px64"
    assert "base, the last stage" in problems(tmp_path, values)["text_encoder.start"]


def test_a_net_that_measures_is_made_by_the_encoders_stage(tmp_path):
    """Found out by evaluate otherwise, after all training."""
    values = valid()
    values["encoders"] |= {"dino": {"source": "none"}, "classifier": {"source": "none"}}
    values["evaluate"]["feature_role"], values["tune"]["features"] = "classifier", "dino"
    values["tune"]["trials"] = 0
    says = "allowed: a role whose encoders.*.source is not none"
    assert problems(tmp_path, values)["evaluate.feature_role"].endswith(f"got classifier; {says}")
    assert "tune.features" not in problems(tmp_path, values)
    values["tune"]["trials"] = 4
    assert problems(tmp_path, values)["tune.features"].endswith(f"got dino; {says}")
