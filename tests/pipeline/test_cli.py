"""`ganline`: help is quick and light, names are frozen, a stage's own command is what runs."""

import json
import os
import resource
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.graph import stage_titles

ROOT = Path(__file__).parents[2]
SAMPLING = ["attributes", "blend", "edit", "generate", "interpolate", "invert", "mix", "sweep"]
TOOLS = [*SAMPLING, "upscale", "cascade", "app", "serve", "export", "init", "import"]
TOOLS += ["benchmark_coco", "repro", "report", "summary", "data", "doctor", "ui", "states", "sync"]
STAGES = [
    "synthesize",
    "source",
    "encoders",
    "score",
    "filter",
    "tune",
    "train_base",
    "superres",
    "text_encoder",
    "adapt",
    "evaluate",
    "publish",
]


def run(*arguments, cwd=ROOT, code=None):
    start = ["-c", code] if code else ["-m", "pipeline.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.row("C8")
def test_the_names_of_the_commands_are_a_promise():
    assert list(cli._tools()) == TOOLS
    assert list(stage_titles(ROOT / "dvc.yaml")) == STAGES


@pytest.mark.row("C8")
@pytest.mark.parametrize("command", ["", *TOOLS, *STAGES])
def test_help_takes_less_than_a_second_and_no_torch(command):
    code = (
        "import sys\nfrom pipeline.cli import main\n"
        "try:\n    main([*sys.argv[1:], '--help'])\nexcept SystemExit as end:\n"
        "    heavy = {'torch', 'mlflow', 'ray', 'dvc', 'pandas', 'pyarrow'} & set(sys.modules)\n"
        "    print('HEAVY', sorted(heavy)); sys.exit(end.code)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = run(*([command] if command else []), code=code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    assert "usage: ganline" in result.stdout
    examples = result.stdout.partition("examples:")[2].splitlines()
    assert len([line for line in examples if "ganline " in line]) >= 3
    assert result.stdout.strip().endswith("HEAVY []")
    # Processor time: on a machine with nothing else to do it is the time that passes.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


WRONG = {
    "a misspelt option": (["generate", "a ring", "--seeed", "3"], "did you mean --seed?"),
    "with its value": (["edit", "a", "--methd=mapper"], "did you mean --method?"),
    "a word too many": (["edit", "a ring", "a disc"], "unrecognized arguments: a disc"),
    "no value": (["generate", "a ring", "--number"], "expected one argument"),
    "none of the choices": (["edit", "a", "--space", "v"], "invalid choice: 'v'"),
    "of a stage": (["score", "--dry-ran"], "did you mean --dry-run?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_words_are_one_line(case, capsys):
    words, says = WRONG[case]
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and line.startswith("error: ") and says in line
    assert f"ganline {words[0]} --help lists all" in line


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"ganline {version('ganline')}\n"


def test_a_stage_command_is_dvcs_with_the_options_appended(project):
    (project / "show.py").write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
    text = (project / "dvc.yaml").read_text().replace("-m pipeline.stages.superres", "show.py")
    (project / "dvc.yaml").write_text(text)
    result = run("superres", "64", "--dry-run", "--set", "seed=3", cwd=project)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown[:3] == ["64", "--start", "artifacts/base"]
    assert shown[3:] == ["--params", "params.yaml", "--set", "seed=3", "--dry-run"]
    assert result.stderr == ""
    assert "outside DVC" in run("superres", "64", cwd=project).stderr


def test_tune_options_become_parameters(project, monkeypatch):
    seen = {}
    graph = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(graph + "  tune:\n    cmd: python -m pipeline.stages.tune\n")
    monkeypatch.setattr(cli, "_become", lambda stage, options, extra: seen.update(extra=extra))
    assert cli.main(["tune", "--trials", "20", "--debug"]) == 0
    expected = ["--params", "params.yaml", "--set", "tune.trials=20", "--debug"]
    assert seen["extra"] == expected


def test_exit_code_and_error_line_are_the_stages_own(project):
    text = (
        (project / "dvc.yaml")
        .read_text()
        .replace("python -m pipeline.stages.superres", "python -m none")
    )
    (project / "dvc.yaml").write_text(text)
    assert run("superres", "64", cwd=project).returncode == 1
    result = run("superres", "128", cwd=project)
    assert result.returncode == 2
    assert result.stderr == ("error: got '128' (superres <key>): params has these entries: 64\n")


def test_what_is_not_a_command_ends_with_2(project):
    result = run("trian_base", cwd=project)
    assert result.returncode == 2
    assert result.stderr == "error: no command 'trian_base': did you mean train_base?\n"
    assert (
        run("zebra", cwd=project).stderr == "error: no command 'zebra': ganline --help lists all\n"
    )


def test_sync_with_nothing_to_send_says_so(project, capsys):
    assert cli.main(["sync"]) == 0
    assert capsys.readouterr().out == "0 lines sent, nothing is waiting\n"


ENDLESS = """
import itertools, sys
from pipeline.exit_codes import guarded
sys.exit(guarded(lambda: [print("line") for _ in itertools.count()]))
"""


def test_a_reader_that_goes_away_is_no_error():
    shell = f"set -o pipefail; {sys.executable} -c {shlex.quote(ENDLESS)} | head -1"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (141, "line\n", "")
