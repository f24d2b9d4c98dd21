"""A job from paths alone: trains, writes the artifact, continues, short-circuits, hands over to the
next stage.
"""

import dataclasses
import errno
import json

import pytest
import torch

import models.families
from components.artifacts.artifact import load_generator, read_card
from components.errors import ConfigError, Interrupted
from components.training import __main__ as command
from components.training import site as site_module
from components.training.distributed import World
from components.training.job import TrainingJob
from components.training.lock import RunLock
from components.training.run import run_job
from components.training.run_log import RunLog
from models.families import Family
from tests.components.training.fake_recipes import FakeSource, fake_config


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    fakes = "tests.components.training.fake_recipes"
    monkeypatch.setattr(
        models.families,
        "FAMILIES",
        {
            "fake_gan": Family(recipe=f"{fakes}:FakeGAN"),
            "fake_adaptation": Family(recipe=f"{fakes}:FakeAdaptation"),
        },
    )
    monkeypatch.setattr(
        site_module, "_open", lambda job, *_: FakeSource() if job.data_dir else None
    )


def job(tmp_path, **changes):
    values = {
        "stage": "train_base",
        "seed": 3,
        "recipe": {"name": "fake_gan", "widths": [1, 2]},
        "train": dataclasses.asdict(fake_config(sample_every_kimg=0.04)),
        "run_dir": str(tmp_path / "runs" / "base-1"),
        "data_dir": "fake",
        "fingerprint": "1",
    }
    return TrainingJob(**values | changes)


def start(the_job, **options):
    records = []
    return run_job(the_job, World(), records.append, "cpu", **options), records


def test_a_job_leaves_artifact_metrics_and_samples(tmp_path):
    result, records = start(job(tmp_path))
    run_dir = tmp_path / "runs" / "base-1"
    assert result["artifact"] == str(run_dir / "artifact")
    assert result["nimg"] == 80 and not result["cached"] and result["images_per_s"] > 0
    generator, card = load_generator(run_dir / "artifact")
    assert (card["data_content_hash"], card["nimg"], card["seed"]) == ("fake", 80, 3)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert lines == records
    assert sorted(p.name for p in (run_dir / "samples").iterdir()) == [
        "000000008.png",
        "000000040.png",
        "000000080.png",
    ]
    image = generator.synthesize(
        generator.map(torch.zeros(1, 4), FakeSource().first(1).condition),
        FakeSource().first(1).condition,
    )
    assert image.shape == (1, 3, 8, 8) and image.isfinite().all()
    assert not (run_dir / "run.lock").exists()


def test_a_finished_job_is_answered_from_its_folder(tmp_path):
    first, _ = start(job(tmp_path))
    again, records = start(job(tmp_path))
    assert again["cached"] and records == []
    assert again["metrics"] == first["metrics"] and again["nimg"] == 80
    (tmp_path / "runs/base-1/artifact/generator.safetensors").write_bytes(b"damaged")
    repaired, records = start(job(tmp_path))
    assert not repaired["cached"] and repaired["resumed_from_nimg"] == 80
    read_card(tmp_path / "runs/base-1/artifact")


def test_an_interrupted_job_continues_to_the_same_artifact_and_log(tmp_path):
    polls = []

    def stop():
        polls.append(1)
        return len(polls) == 3

    _, whole_records = start(job(tmp_path))
    cut = job(tmp_path, run_dir=str(tmp_path / "runs" / "cut"))
    with pytest.raises(Interrupted):
        start(cut, stop=stop)
    # Lines that a killed run wrote after its last state are replaced, a line cut in two is dropped.
    log = tmp_path / "runs" / "cut" / "metrics.jsonl"
    with log.open("a") as stream:
        stream.write(json.dumps({"kind": "tick", "nimg": 32, "loss": "stale"}) + '\n{"kind": "ti')
    resumed, _ = start(cut)
    assert resumed["resumed_from_nimg"] == 24
    hashes = [read_card(tmp_path / "runs" / n / "artifact")["files"] for n in ("base-1", "cut")]
    for name in ("generator.safetensors", "discriminator.safetensors", "samples.png"):
        assert hashes[0][name] == hashes[1][name]
    ticks = [r["nimg"] for r in RunLog(log).records() if r["kind"] == "tick"]
    assert ticks == [r["nimg"] for r in whole_records if r["kind"] == "tick"]
    assert "stale" not in log.read_text()


def test_the_next_stage_starts_from_the_artifact_and_inherits_its_recipe(tmp_path):
    first, _ = start(job(tmp_path, recipe={"name": "fake_gan", "weight": 0.5}))
    second = job(
        tmp_path,
        recipe={"learning_rate": 0.0},
        start_dir=first["artifact"],
        run_dir=str(tmp_path / "runs" / "next"),
    )
    result, _ = start(second)
    parent, card = read_card(first["artifact"]), read_card(result["artifact"])
    assert card["recipe"]["fields"]["weight"] == 0.5
    assert card["recipe"]["fields"]["learning_rate"] == 0.0
    assert card["parent_sha256"] == parent["files"]["generator.safetensors"]
    one, two = (load_generator(r["artifact"])[0] for r in (first, result))
    assert torch.equal(one.conv.weight, two.conv.weight)  # learning rate 0


def test_a_family_without_data_starts_from_an_artifact_alone(tmp_path):
    first, _ = start(job(tmp_path))
    adapt = job(
        tmp_path,
        recipe={"name": "fake_adaptation"},
        start_dir=first["artifact"],
        data_dir="",
        run_dir=str(tmp_path / "runs" / "adapt"),
    )
    result, _ = start(adapt)
    card = read_card(result["artifact"])
    assert card["shape"]["num_labels"] == 3 and "discriminator.safetensors" not in card["files"]


@pytest.mark.row("G17")
@pytest.mark.parametrize("polls", [1, 2, 4, 7])
def test_a_break_between_two_ticks_leaves_the_same_log(tmp_path, polls):
    """The means of a tick are over all steps since the last one, those before a break too."""
    train = dataclasses.asdict(fake_config(report_every_kimg=0.024))
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == polls

    _, whole = start(job(tmp_path, train=train))
    cut = job(tmp_path, train=train, run_dir=str(tmp_path / "runs" / "cut"))
    with pytest.raises(Interrupted):
        start(cut, stop=stop)
    start(cut)

    def ticks(records):
        times = ("seconds", "eta_s", "images_per_s", "memory")
        return [
            {name: x for name, x in r.items() if not name.startswith(times)}
            for r in records
            if r["kind"] == "tick"
        ]

    found = ticks(RunLog(tmp_path / "runs" / "cut" / "metrics.jsonl").records())
    assert found == ticks(whole) and any(name.startswith("loss/") for name in found[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_dir": ""}, "recipe fake_gan needs data"),
        ({"recipe": {"weight": 1.0}}, "recipe without a name"),
        ({"recipe": {"name": "fake_adaptation"}}, "adaptation needs a start artifact"),
        ({"train": dataclasses.asdict(fake_config(resolution_px=16))}, "the fake makes 8 px only"),
    ],
)
def test_a_job_that_cannot_be_is_one_line_and_frees_the_folder(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        start(job(tmp_path, **changes))
    assert "\n" not in str(caught.value)
    start(job(tmp_path))


@pytest.mark.row("A17")
def test_two_jobs_do_not_share_a_folder(tmp_path):
    lock = RunLock(tmp_path / "runs" / "base-1")
    lock.acquire()
    with pytest.raises(ConfigError, match="in use by process"):
        start(job(tmp_path))
    lock.release()


def test_the_command_runs_a_job_file_and_copies_the_artifact(tmp_path, capsys):
    path = tmp_path / "job.json"
    wanted = job(tmp_path, artifact_dir=str(tmp_path / "artifacts" / "base"))
    path.write_text(json.dumps(dataclasses.asdict(wanted)))
    (tmp_path / "artifacts").mkdir()
    assert command.main([str(path), "--device", "cpu"]) == 0
    assert read_card(tmp_path / "artifacts" / "base")["nimg"] == 80
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["kind"] == "tick" and lines[-1]["nimg"] == 80


def test_the_command_ends_with_the_errors_code_and_one_line(tmp_path, capsys):
    path = tmp_path / "job.json"
    path.write_text('{"stage": "x", "sed": 1}')
    assert command.main([str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "sed" in error


@pytest.mark.row("G14")
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1], "no JSON object"),
        ({"seed": "1"}, "seed is str, wanted int"),
        ({"recipe": "gan"}, "recipe is str, wanted dict"),
        ({"train": {"batch": "8"}}, "batch is '8', wanted int"),
        ({"train": {"batch": True}}, "batch is True, wanted int"),
        ({"train": {"batch": 0}}, "batch is 0, wanted int in [1, None]"),
        ({"train": {"total_kimg": float("nan")}}, "total_kimg is nan, wanted float"),
        ({"train": {"precision": "fp8"}}, "precision is 'fp8', wanted one of fp32, bf16"),
        ({"train": {"bach": 8}}, "bach is no field"),
        ({"train": None}, "train is NoneType, wanted dict"),
    ],
)
def test_a_wrong_job_is_one_line_before_anything_is_written(tmp_path, capsys, values, says):
    path, good = tmp_path / "job.json", dataclasses.asdict(job(tmp_path))
    if isinstance(values, dict) and isinstance(values.get("train"), dict):
        values = {"train": good["train"] | values["train"]}
    path.write_text(json.dumps(good | values if isinstance(values, dict) else values))
    assert command.main([str(path), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.row("G14")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl"), 6),
        (OSError(errno.EROFS, "Read-only file system", "metrics.jsonl"), 5),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 6),
        (KeyboardInterrupt("SIGTERM"), 7),
        (ZeroDivisionError("a bug"), 1),
    ],
)
def test_the_command_ends_as_a_stage_does(tmp_path, capsys, monkeypatch, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr(RunLog, "add", fail)
    path = tmp_path / "job.json"
    path.write_text(json.dumps(dataclasses.asdict(job(tmp_path))))
    assert command.main([str(path), "--device", "cpu"]) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ") and not any("Traceback" in line for line in lines)


@pytest.mark.row("A18")
@pytest.mark.parametrize("kind", ["space", "umlaut", "link"])
def test_a_run_folder_may_have_any_name(tmp_path, kind):
    place = tmp_path / {"space": "my runs", "umlaut": "l\u00e4ufe \u65e5", "link": "link"}[kind]
    if kind == "link":
        (tmp_path / "far").mkdir()
        place.symlink_to(tmp_path / "far")
    path = tmp_path / "job.json"
    wanted = job(tmp_path, run_dir=str(place / "base"), artifact_dir=str(tmp_path / "out"))
    path.write_text(json.dumps(dataclasses.asdict(wanted)))
    assert command.main([str(path), "--device", "cpu"]) == 0
    assert read_card(tmp_path / "out")["nimg"] == 80


@pytest.mark.row("A18")
def test_a_run_folder_that_cannot_be_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    path = tmp_path / "job.json"
    path.write_text(json.dumps(dataclasses.asdict(job(tmp_path, run_dir=str(tmp_path / "file/x")))))
    assert command.main([str(path), "--device", "cpu"]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Not a directory") and str(tmp_path / "file") in line
