"""The report is one file, shows everything the stages left, and escapes what it did not write."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import yaml
from PIL import Image

from pipeline.commands.report import MOST_STEPS, main
from pipeline.commands.report_charts import bars, curves
from pipeline.commands.report_parts import Pictures
from pipeline.params.resolved import resolved
from pipeline.params.sections import load_params
from tests.house_source import ROOT


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags are balanced."""

    VOID = ("meta", "img", "input")

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data + " "

    def all(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture
def page(finished, capsys):
    assert main([]) == 0
    assert "file://" in capsys.readouterr().out
    return Page((finished / "reports/report.html").read_text())


def test_everything_is_on_the_page(page):
    for words in ("caption.empty", "judge.colour", "0.75", "123.4", "kimg", "train_base: loss"):
        assert words in page.text
    assert "coverage was not measured: too few <images>." in page.text
    assert "Warning: the judge is being fooled: it names 50 % of the shapes right" in page.text
    for words in ("small ring", "silhouette.worst", "seed_variety_centre"):
        assert words in page.text
    for words in ("python -m pipeline.train_base --x '<y>'", "net_sha256", "100.0 s", "abc"):
        assert words in page.text
    alternatives = [image["alt"] for image in page.all("img")]
    assert alternatives == [
        "Prompts in rows, seeds in columns",
        "train_base: 001000",
        "train_base: 002000",
    ]


def test_the_page_needs_no_server(page, finished):
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    assert "http" not in re.sub(
        r"<title>.*?</title>", "", (finished / "reports/report.html").read_text()
    )


def test_foreign_text_is_escaped(page):
    assert len(page.all("script")) == 1
    assert not page.all("i") and not page.all("b")
    assert "<i>odd" in page.text
    assert "a: <b>" in page.text


def test_steps_are_behind_a_slider(page):
    (control,) = page.all("input")
    assert (control["min"], control["max"], control["value"]) == ("0", "1", "1")


def test_many_steps_are_thinned_but_the_last_stays(finished):
    for step in range(100):
        Image.new("RGB", (4, 4)).save(finished / f"artifacts/base/samples/{step:06d}.png")
    assert main([]) == 0
    page = Page((finished / "reports/report.html").read_text())
    steps = [i["alt"] for i in page.all("img") if i["alt"].startswith("train_base")]
    assert len(steps) <= MOST_STEPS + 1
    assert steps[-1] == "train_base: 002000"


def test_before_any_run_there_is_a_page_too(project):
    assert main([]) == 0
    assert "No stage has run" in Page((project / "reports/report.html").read_text()).text


def test_the_first_screen_says_what_it_is_and_how_good(page):
    first = page.text.partition("Apply the thresholds")[0]
    assert "Gets right: background, size." in first
    assert "Warning: the judge is being fooled" in first
    for words in (
        "all attributes right",
        "variety of the seeds",
        "as real images",
        "5.0 times lower",
        "100 -> 20",
        "40 %",
    ):
        assert words in first
    assert first.index("all attributes right") < first.index("seeds in columns")


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ({"thresholds": {"recall": {"value": 0.6, "min": 0.5}}}, "Published: every threshold"),
        ({"thresholds": {}}, "Published: no thresholds are set."),
        (
            {"thresholds": {}, "no_champion": "measured on 27 held-out images"},
            "Published as a candidate, not champion: measured on 27 held-out images; no thresholds",
        ),
        (
            {"thresholds": {}, "registered": {"aliases": ["candidate"]}},  # of an older run
            "Published as a candidate, not champion: no thresholds are set.",
        ),
    ],
)
def test_the_verdict_says_as_what_it_was_published_and_why(finished, report, says):
    path = finished / "reports/publish.json"
    path.write_text(json.dumps({"published": True, "missed": [], **report}))
    graph = yaml.safe_load((finished / "dvc.yaml").read_text())
    metrics = [{"reports/publish.json": {"cache": False}}]
    graph["stages"]["publish"] = {"cmd": "false", "metrics": metrics}
    (finished / "dvc.yaml").write_text(yaml.safe_dump(graph))
    assert main([]) == 0
    assert says in Page((finished / "reports/report.html").read_text()).text


def test_a_distance_that_grew_is_said_in_words_and_shares_are_explained(finished):
    for place in ("reports/evaluation.json", "artifacts/evaluation/metrics.json"):
        evaluation = json.loads((finished / place).read_text())
        del evaluation["frechet_judge"]
        for name in ("judge", "silhouette", "memorised", "seed_variety"):
            evaluation.pop(name, None)
        evaluation["frechet_dino"] = {"before": 18.0, "after": 25.2, "ratio": 1.4}
        evaluation["precision"] = 0.9
        (finished / place).write_text(json.dumps(evaluation))
    assert main([]) == 0
    first = Page((finished / "reports/report.html").read_text()).text.partition("Apply the")[0]
    assert "1.4 times higher" in first and "Frechet distance on dino" in first
    assert "1/0.7" not in first
    assert "share of real images that the model's images cover (Kynkaanniemi" in first
    assert "share of the model's images that look like real ones (Kynkaanniemi" in first


def test_stages_stand_in_the_order_in_which_they_run(page):
    names = [attrs["id"] for attrs in page.all("h2")]
    assert names == ["filter", "train_base", "superres@64", "evaluate", "settings", "commands"]


def test_settings_that_differ_from_the_nearest_preset_are_listed(finished):
    params = load_params(ROOT / "presets/shapes_long.yaml", ["train_base.total_kimg=7"])
    for name in ("filter", "train_base", "superres@64"):
        path = finished / f"runs/stages/{name}.json"
        record = json.loads(path.read_text()) | {"config": resolved(params, name)}
        path.write_text(json.dumps(record))
    assert main([]) == 0
    page = (finished / "reports/report.html").read_text()
    section = " ".join(
        Page(page).text.partition("settings")[2].partition("What to type")[0].split()
    )
    preset = load_params(ROOT / "presets/shapes_long.yaml").train_base.train.total_kimg
    assert "What differs from presets/shapes_long.yaml, the nearest preset." in section
    assert f"train_base.total_kimg 7 (preset: {preset:g})" in section
    assert section.count("(preset:") == 1


def test_code_and_time_are_short(finished):
    path = finished / "runs/stages/train_base.json"
    facts = {"git_commit": f"{'ab' * 20}-dirty", "started_utc": "2026-11-07T22:49:08+00:00"}
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    assert main([]) == 0
    text = Page((finished / "reports/report.html").read_text()).text
    assert "Last stage started 7 Nov 2026 22:49 UTC; code abababa with changes, abc." in text


def test_numbers_from_the_repository_are_not_called_a_run_of_yours(finished):
    shutil.rmtree(finished / "runs" / "stages")
    assert main([]) == 0
    text = Page((finished / "reports/report.html").read_text()).text
    assert "These numbers came with the repository: no stage has run here yet" in text


def test_a_page_that_is_full_names_what_it_leaves_out(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x" * 300)
    pictures = Pictures(limit=500)
    assert pictures(tmp_path / "a.png", "a")["data"].startswith("data:image/png;base64,")
    assert pictures(tmp_path / "b.png", "b") == {"caption": "b", "data": ""}


def test_charts_have_axes_and_leave_out_what_is_not_finite():
    chart = curves({"loss": [(0.0, 5.0), (1.0, float("nan")), (2.0, 7.0)]}, "kimg", "a & b")
    assert ">kimg<" in chart and ">loss<" in chart and 'aria-label="a &amp; b"' in chart
    assert len(re.findall(r">\s*[\d.]+\s*</text>", chart)) >= 6  # both axes have a scale
    assert "http" not in chart and "<metadata" not in chart
    assert curves({}, "kimg", "nothing") == bars({}, "nothing", "samples") == ""
    two = [curves({"x": [(0.0, 1.0)]}, "kimg", title) for title in ("one", "two")]
    names = [set(re.findall(r'\bid="([^"]+)"', chart)) for chart in two]
    assert names[0] and not names[0] & names[1]
    assert two[0] == curves({"x": [(0.0, 1.0)]}, "kimg", "one")  # the same bytes


def test_bars_are_in_order_with_their_numbers():
    chart = bars({"few": 25, "many": 1000, "none": 0}, "reasons", "samples")
    assert chart.index(">none<") < chart.index(">few<") < chart.index(">many<")
    assert ">1,000<" in chart and ">samples<" in chart


def test_two_runs_side_by_side(finished, tmp_path_factory, monkeypatch, capsys):
    other = tmp_path_factory.mktemp("other") / "clone"
    shutil.copytree(finished, other)
    curve = "kimg,series,value\n1,loss/generator,0.4\n2,loss/generator,0.2\n"
    (other / "reports/train_base.csv").write_text(curve)
    (other / "reports/train_base.json").write_text('{"nimg": 3000}')
    record = (other / "runs/stages/filter.json").read_text()
    (other / "runs/stages/filter.json").write_text(record.replace("<b>", "<u>"))
    monkeypatch.chdir(finished)
    assert main([".", str(other)]) == 0
    path = finished / "reports/report_two.html"
    assert str(path.relative_to(finished)) in capsys.readouterr().out
    page, text = Page(path.read_text()), path.read_text()
    assert [image["alt"] for image in page.all("img")] == [
        "A: prompts in rows, seeds in columns",
        "B: prompts in rows, seeds in columns",
    ]
    words = page.text.split()
    at = words.index("train_base.nimg")
    assert words[at : at + 4] == ["train_base.nimg", "2,000", "3,000", "+1,000"]
    differing = page.text[page.text.index("settings that differ") : page.text.index("A is drawn")]
    assert "filter.a <b> <u>" in " ".join(differing.split()) and "train_base.a" not in differing
    assert "A generator" in page.text and "B generator" in page.text
    assert "stroke-dasharray" in text and not page.all("u")
    assert main(["."]) == 2 and main([".", "."]) == 2 and main([".", str(other / "runs")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all(line.startswith("error: ") for line in said)
