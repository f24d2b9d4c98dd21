"""The summary holds exactly the promised keys, and says what is missing as null."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components.errors import StorageError
from pipeline.commands.summary import main, read_sources, summarize, summary_text


def test_the_summary_of_a_finished_run(finished):
    assert main([]) == 0
    written = json.loads((finished / "reports/summary.json").read_text())
    summary = summarize(read_sources(finished / "params.yaml"))
    machine = {"seconds", "phases", "seconds_between", "base_images_per_s", "peak_memory_gib"}
    assert written == {name: value for name, value in summary.items() if name not in machine}
    assert summary == {
        "seconds": {"filter": 2.5, "train_base": 100.0, "superres@64": 61.0, "total": 163.5},
        "phases": {},
        "seconds_between": None,
        "judge": {"background": 0.9, "size": 0.8, "colour": 0.75, "shape": 0.5, "all": 0.4},
        "frechet_judge": {"before": 100.0, "after": 20.0},
        "clip_score": 0.75,
        "prompt_sensitivity": 0.5,
        "silhouette": {"shape": 0.45, "worst": 0.1},
        "seed_variety": 0.6,
        "seed_variety_pixels": 0.5,
        "seed_variety_centre": 0.2,
        "recall": 0.3,
        "memorised": 0.25,
        "memorised_pixels": 0.2,
        "memorised_held_out": 0.05,
        "class_right": 0.61,
        "class_right_real": 0.83,
        "base_images_per_s": 123.4,
        "filter": {
            "in": 10,
            "kept": 7,
            "rejected": {"caption.empty": 2, "<i>odd": 0},
            "swapped_rejected": 0.95,
            "clean_kept": 0.97,
        },
        "published": None,
        "missed": [],
        "peak_memory_gib": 3.25,
    }


def test_the_page_for_people(finished):
    sources = read_sources(finished / "params.yaml")
    text = summary_text(summarize(sources), sources, finished / "reports/summary.json")
    for words in (
        "1 min 40 s",
        "colour 75.0 %",
        "100 -> 20  (5.0 times lower)",
        "outlines       shape 45.0 %  worst kind of image 10.0 %",
        "seed variety   features 0.60  pixels 0.50  place 0.20  (1 = as real images)",
        "memorised      features 25.0 %  pixels 20.0 %  (held-out images: 5.0 %)",
        "class right    61.0 %  (held-out images: 83.0 %)",
        "gets right     background, size",
        # The shape by its outline, 0.45, and not by the judge, 0.5.
        "mistakes in    colour (25 % wrong), shape (55 % wrong)",
        "draws          large circle",
        "fails at       small ring",
        "warning        the judge is being fooled",
        "CLIP score     0.750, with shuffled prompts 0.250",
        "123 images/s",
        "10 in, 7 kept, 1 held out, 2 rejected",
        "95.0 % of swapped captions rejected",
        "3.25 GiB",
        "artifacts/evaluation/samples.png",
        "ganline generate",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("shape", "asked"),
    [
        ({"pooled_dim": 8}, 'generate "a large red ring on a blue background" --seed'),
        ({"num_labels": 2}, 'generate --label "blue cross" --seed'),
        ({"num_labels": 0}, "generate --seed"),
    ],
)
def test_what_to_type_next_is_what_the_model_takes(finished, shape, asked):
    (finished / "artifacts/release").mkdir()
    card = {"shape": shape, "label_names": ["blue cross", "red ring"]}
    (finished / "artifacts/release/card.json").write_text(json.dumps(card))
    sources = read_sources(finished / "params.yaml")
    publish = replace(sources.nodes[0], stage="publish", outs=(Path("artifacts/release"),))
    sources = replace(sources, nodes=[*sources.nodes, publish])
    assert f"ganline {asked}" in summary_text(summarize(sources), sources, finished / "s.json")


def test_a_model_that_misses_is_no_champion_and_the_page_says_what_is_missed(finished):
    missed = ["silhouette.shape is 0.45, wanted at least 0.8", "recall is 0.3, wanted at least 0.6"]
    report = finished / "reports/publish.json"
    report.write_text(json.dumps({"published": False, "missed": missed}))
    graph = yaml.safe_load((finished / "dvc.yaml").read_text())
    metrics = [{"reports/publish.json": {"cache": False}}]
    graph["stages"]["publish"] = {"cmd": "false", "metrics": metrics}
    (finished / "dvc.yaml").write_text(yaml.safe_dump(graph))
    sources = read_sources(finished / "params.yaml")
    summary = summarize(sources)
    assert summary["published"] is False and summary["missed"] == missed
    text = summary_text(summary, sources, finished / "s.json")
    assert "published      no: the model misses a threshold and is not champion" in text
    assert all(f"missed         {line}" in text for line in missed)
    assert "gets right     background, size" in text and "fails at       small ring" in text
    assert "ganline generate" not in text and "there is no release yet" in text
    report.write_text(json.dumps({"published": True, "missed": []}))
    sources = read_sources(finished / "params.yaml")
    text = summary_text(summarize(sources), sources, finished / "s.json")
    assert "ganline generate" in text and "not champion" not in text


def test_before_any_run_everything_is_null(project, capsys):
    assert main(["--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["seconds"] == {"total": 0}
    assert summary["judge"]["all"] is None
    assert summary["prompt_sensitivity"] is None
    assert summary["peak_memory_gib"] is None
    assert main([]) == 0
    assert "none yet" in capsys.readouterr().out


def test_a_broken_metrics_file_is_one_error(finished):
    (finished / "reports/filter.json").write_text("{")
    with pytest.raises(StorageError, match=r"filter\.json"):
        read_sources(finished / "params.yaml")
    assert main([]) == 5


def test_numbers_of_an_earlier_run_are_left_out_and_named(finished):
    """`filter` has written other data since the training."""
    graph = (finished / "dvc.yaml").read_text()
    model = "    outs: [artifacts/evaluation]"
    assert model in graph
    graph = graph.replace(model, f"    deps: [artifacts/base]\n{model}")
    (finished / "dvc.yaml").write_text(graph)
    entries = {
        "filter": {"outs": [{"path": "reports/filter.json", "md5": "1"}]},
        "train_base": {"deps": [{"path": "reports/filter.json", "md5": "0"}]},
        "evaluate": {},
    }
    (finished / "dvc.lock").write_text(yaml.safe_dump({"stages": entries}))
    sources = read_sources(finished / "params.yaml")
    assert sources.stale == ("train_base", "evaluate")
    summary = summarize(sources)
    assert summary["filter"]["kept"] == 7 and summary["frechet_judge"]["after"] is None
    text = summary_text(summary, sources, finished / "reports/summary.json")
    assert "not run since what they read has changed: train_base, evaluate\n" in text
    assert not any(words in text for words in ("100 -> 20", "fails at", "sample sheet"))


@pytest.mark.parametrize(
    ("after", "said"),
    [(4.5, "(4.0 times lower)"), (36.0, "(2.0 times higher than before training)")],
)
def test_a_distance_by_another_net_has_its_line(finished, after, said):
    path = finished / "reports/evaluation.json"
    report = json.loads(path.read_text())
    del report["frechet_judge"]
    path.write_text(json.dumps(report | {"frechet_dino": {"before": 18.0, "after": after}}))
    sources = read_sources(finished / "params.yaml")
    summary = summarize(sources)
    assert summary["frechet_judge"] == {"before": None, "after": None}
    text = summary_text(summary, sources, finished / "s.json")
    assert f"  Frechet (dino's features)  18 -> {after:g}  {said}" in text


def test_the_line_of_the_distance_tells_that_of_training_images(finished):
    path = finished / "reports/evaluation.json"
    report = json.loads(path.read_text())
    report["frechet_judge"]["training"] = 3.25
    path.write_text(json.dumps(report))
    sources = read_sources(finished / "params.yaml")
    summary = summarize(sources)
    assert summary["frechet_judge"] == {"before": 100.0, "after": 20.0, "training": 3.25}
    text = summary_text(summary, sources, finished / "s.json")
    assert "100 -> 20  (5.0 times lower; training images: 3.25)\n" in text


def test_the_prompt_to_type_next_is_one_of_the_users_own(finished):
    path = finished / "artifacts/evaluation/metrics.json"
    details = json.loads(path.read_text()) if path.is_file() else {}
    details.setdefault("model", {})["prompt"] = "a cat's hat; $HOME"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(details))
    sources = read_sources(finished / "params.yaml")
    text = summary_text(summarize(sources), sources, finished / "s.json")
    (line,) = [line for line in text.splitlines() if "ganline generate" in line]
    assert shlex.split(line)[2] == "a cat's hat; $HOME"
