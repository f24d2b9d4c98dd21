"""The frame: exit codes, one error line, what is written and what a dry run leaves alone."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from components import errors
from pipeline import places
from pipeline.exit_codes import guarded
from pipeline.params.resolved import resolved
from pipeline.stages.frame import run_stage
from tests.pipeline.params.params_example import valid

ROOT = Path(__file__).parents[3]


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    values = valid()
    values["tracking"]["enabled"] = False
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANLINE_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path


def no_arguments(parser):
    pass


def outcome(action, capsys, debug=False):
    code = guarded(action, debug)
    return code, capsys.readouterr().err.splitlines()


def raiser(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (errors.ConfigError("a", "b", "c"), 2, "error: a (b): c"),
        (errors.DataError("a", "b", "c"), 3, "error: a (b): c"),
        (errors.NonFiniteError("a", "b", "c"), 4, "error: a (b): c"),
        (errors.StorageError("a", "b", "c"), 5, "error: a (b): c"),
        (PermissionError(errno.EACCES, "no", "/x"), 5, "error: no permission to use it (/x): "),
        (errors.ResourceError("a", "b", "c"), 6, "error: a (b): c"),
        (OSError(errno.ENOSPC, "full", "/x"), 6, "error: the disk is full (/x): "),
        (MemoryError(), 6, "error: out of memory (memory): "),
        (KeyboardInterrupt(), 7, "error: stopped by SIGINT (signal): run the same command"),
        (ZeroDivisionError("two\nlines"), 1, "error: ZeroDivisionError: two lines (unexpected): "),
    ],
)
def test_every_error_is_one_line_and_one_exit_code(error, code, words, capsys):
    got, lines = outcome(raiser(error), capsys)
    assert got == code
    assert len(lines) == 1
    assert lines[0].startswith(words)


@pytest.mark.row("A19")
def test_torch_out_of_memory_is_known_by_name(capsys):
    class OutOfMemoryError(RuntimeError):
        pass

    code, lines = outcome(raiser(OutOfMemoryError("CUDA out of memory.\nTried 2 GiB")), capsys)
    assert (code, len(lines)) == (6, 1)
    assert "micro_batch" in lines[0]


def test_debug_adds_the_traceback(capsys):
    code, lines = outcome(raiser(ZeroDivisionError("x")), capsys, debug=True)
    assert code == 1
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("error: ")


def test_sigterm_ends_with_7_and_handlers_come_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    code, lines = outcome(lambda: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5), capsys)
    assert code == 7
    assert lines == ["error: stopped by SIGTERM (signal): run the same command to continue"]
    assert signal.getsignal(signal.SIGTERM) is before


SWALLOWS = """
import signal
ended = False
try:
    for _ in range({times}):
        signal.raise_signal(signal.SIGTERM)
except BaseException:
    pass
ended = True
"""


def test_a_signal_within_an_import_is_raised_after_it(tmp_path, monkeypatch, capsys):
    # Libraries swallow what is raised into their imports: the signal would be lost.
    (tmp_path / "swallows_one.py").write_text(SWALLOWS.format(times=1))
    monkeypatch.syspath_prepend(tmp_path)
    seen = []

    def action():
        import swallows_one

        seen.append(swallows_one.ended)
        for _ in range(500):
            time.sleep(0.01)
        seen.append("went on")

    got, lines = outcome(action, capsys)
    assert (got, seen) == (7, [True])
    assert lines == ["error: stopped by SIGTERM (signal): run the same command to continue"]


def test_a_second_signal_within_an_import_ends_the_process_at_once(tmp_path):
    (tmp_path / "swallows_two.py").write_text(SWALLOWS.format(times=2))
    code = (
        "from pipeline.exit_codes import guarded\n"
        "raise SystemExit(guarded(lambda: __import__('swallows_two')))\n"
    )
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60)
    assert done.returncode == -signal.SIGTERM


def test_a_stage_is_timed_and_recorded(workspace, monkeypatch, capsys):
    seen = {}

    def work(context):
        seen["batch"] = context.params.score.batch
        seen["out"] = context.arguments.out
        context.tracker.log_metrics({"rows": 3.0})
        context.say("three rows")

    def arguments(parser):
        parser.add_argument("--out", type=Path, required=True)

    argv = ["--out", "somewhere", "--set", "score.batch=7"]
    assert run_stage("score", arguments=arguments, work=work, argv=argv) == 0
    assert seen == {"batch": 7, "out": Path("somewhere")}
    assert capsys.readouterr().err == "three rows\n"
    record = json.loads((workspace / "runs/stages/score.json").read_text())
    assert record["stage"] == "score"
    assert record["cached"] is False
    assert 0 <= record["seconds"] < 5
    assert record["config"]["score"]["batch"] == 7
    assert "--out somewhere" in record["command"]
    (spool,) = (workspace / "runs/tracking").glob("score-*.jsonl")
    events = [json.loads(line) for line in spool.read_text().splitlines()]
    assert [e["op"] for e in events] == ["run", "params", "artifact", "metrics", "metrics", "end"]
    assert events[-1]["status"] == "FINISHED"


def test_a_failed_stage_leaves_no_record_and_says_so_to_the_mirror(workspace, capsys):
    code = run_stage("score", arguments=no_arguments, work=lambda c: 1 / 0, argv=[])
    assert code == 1
    assert not (workspace / "runs/stages").exists()
    (spool,) = (workspace / "runs/tracking").glob("score-*.jsonl")
    assert json.loads(spool.read_text().splitlines()[-1])["status"] == "FAILED"


@pytest.mark.parametrize(
    ("ending", "status", "wait_s"),
    [
        (KeyboardInterrupt(), "KILLED", 5.0),
        (errors.Interrupted("stopped", "training", "go on"), "KILLED", 5.0),
        (errors.DataError("a", "b", "c"), "FAILED", 9.0),
    ],
)
def test_two_runs_wait_for_mlflow_once_and_a_stopped_stage_waits_less(
    ending, status, wait_s, workspace, monkeypatch, capsys
):
    monkeypatch.setenv("GANLINE_PIPELINE_RUN", "one")
    raised_s = []

    def work(context):
        raised_s.append(time.monotonic())
        raise ending

    with socket.create_server(("127.0.0.1", 0), backlog=50) as deaf:
        told = [
            "tracking.enabled=true",
            f"tracking.uri=http://127.0.0.1:{deaf.getsockname()[1]}",
            "tracking.request_timeout_s=60",
            "tracking.flush_timeout_s=9",
        ]
        argv = [word for setting in told for word in ("--set", setting)]
        assert run_stage("score", arguments=no_arguments, work=work, argv=argv) != 0
    waited_s = time.monotonic() - raised_s[0]
    assert waited_s >= wait_s - 0.5, "nothing was waited for"
    assert waited_s < 2 * wait_s - 0.5, "each run waited by itself"
    spools = list((workspace / "runs/tracking").glob("*.jsonl"))
    assert len(spools) == 2
    for spool in spools:
        last = json.loads(spool.read_text().splitlines()[-1])
        assert (last["op"], last["status"]) == ("end", status)
    assert capsys.readouterr().err.count("are kept in") == 2


@pytest.mark.row("C4")
def test_a_dry_run_prints_the_parameters_and_writes_nothing(workspace, capsys):
    before = sorted(workspace.rglob("*"))
    code = run_stage(
        "superres@64",
        arguments=no_arguments,
        work=lambda context: pytest.fail("worked"),
        plan=lambda context: {"parameters_million": 1.5},
        argv=["--dry-run"],
    )
    assert code == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["superres@64"]["resolution_px"] == 64
    assert shown["plan"] == {"parameters_million": 1.5}
    assert sorted(workspace.rglob("*")) == before


def test_the_resolved_config_is_the_stage_section_and_the_seed(workspace):
    from pipeline.params.sections import load_params

    params = load_params(Path("params.yaml"))
    assert set(resolved(params, "tune")) == {"seed", "tune"}
    assert set(resolved(params, "score")) == {"seed", "source", "score"}
    assert resolved(params, "superres 64") == resolved(params, "superres@64")
    with pytest.raises(errors.ConfigError, match=r"got '65' .*params\.yaml has: 64"):
        resolved(params, "superres@65")


def test_telemetry_is_off_but_a_set_value_wins(monkeypatch):
    for name in (*places.QUIET, "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    places.set_quiet_environment(may_download=True)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "HF_HUB_OFFLINE" not in os.environ
    places.set_quiet_environment()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    for name in (*places.QUIET, "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def test_runs_are_absolute_and_outlive_a_queued_experiment(tmp_path, monkeypatch):
    monkeypatch.delenv("GANLINE_RUNS_DIR", raising=False)
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "abc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert places.runs_folder() == tmp_path / "runs"
    assert os.environ["GANLINE_RUNS_DIR"] == str(tmp_path / "runs")
    monkeypatch.setenv("GANLINE_RUNS_DIR", "elsewhere")
    assert places.runs_folder() == copy / "elsewhere"


@pytest.mark.row("A13")
def test_sigterm_from_outside_ends_a_stage_with_7(workspace):
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pipeline.stages.frame import run_stage\n"
        "work = lambda context: (print('working', flush=True), time.sleep(30))\n"
        "sys.exit(run_stage('score', arguments=lambda p: None, work=work, argv=[]))\n"
    )
    command = [sys.executable, "-c", code, str(ROOT)]
    process = subprocess.Popen(
        command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "working\n"
    process.terminate()
    _, err = process.communicate(timeout=10)
    assert process.returncode == 7
    assert err.strip() == "error: stopped by SIGTERM (signal): run the same command to continue"


def test_quiet_says_warnings_only(workspace, capsys, monkeypatch):
    monkeypatch.delenv("GANLINE_LIVE", raising=False)

    def work(context):
        context.say("score: 20 rows")
        context.say("warning: few rows")

    assert run_stage("score", arguments=no_arguments, work=work, argv=["--quiet"]) == 0
    assert capsys.readouterr().err == "warning: few rows\n"
    assert os.environ.pop("GANLINE_LIVE") == "off"  # no display either
    assert run_stage("score", arguments=no_arguments, work=work, argv=[]) == 0
    assert "score: 20 rows" in capsys.readouterr().err
