"""The report is one file, shows everything the stages left, and escapes what it did not write."""

import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from pipeline.commands import report_html as html
from pipeline.commands.report import MOST_STEPS, main


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags are balanced."""

    VOID = ("meta", "img", "input", "rect", "circle", "polyline")

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
    for words in ("caption.empty", "judge.colour", "0.75", "123.4", "loss/generator against kimg"):
        assert words in page.text
    assert "coverage was not measured: too few <images>." in page.text
    assert "Warning: the judge is being fooled: it names 50 % of the shapes right" in page.text
    for words in ("small ring", "silhouette.worst", "seed_variety_centre"):
        assert words in page.text
    for words in ("python -m pipeline.train_base --x '<y>'", "net_sha256", "100.0 s", "abc"):
        assert words in page.text
    alternatives = [image["alt"] for image in page.all("img")]
    assert alternatives == [
        "evaluate: samples.png",
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
    assert "no stage has run" in Page((project / "reports/report.html").read_text()).text


def test_a_curve_spans_its_box_and_leaves_out_what_is_not_finite():
    chart = html.curve([0.0, 1.0, 2.0], [5.0, float("nan"), 7.0], "loss")
    points = re.search(r'points="([^"]+)"', chart)[1].split()
    assert len(points) == 2
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in points)
    assert (x0, x1) == (html.MARGIN, html.WIDTH - 8)
    assert y0 > y1 == 14.0
    assert html.curve([1.0], [float("inf")], "x") == ""
    assert "<circle" in html.curve([1.0], [2.0], "x")


def test_bars_are_in_proportion():
    chart = html.bars({"few": 25, "many": 100, "none": 0}, "reasons")
    assert re.findall(r'width="([\d.]+)" height="14"', chart) == ["360.0", "90.0", "0.0"]
