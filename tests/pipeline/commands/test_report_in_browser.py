"""The report in a real browser: nothing is cut on a phone, text stands out, no other address."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from pipeline.commands.report import main
from tests.pipeline.serving.browser import CHROMIUM, browser_page
from tests.pipeline.serving.test_page import CONTRAST

ROOT = Path(__file__).resolve().parents[3]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_phone_a_desk_the_dark_and_paper(finished: Path):
    # The curves of the last real run: long names of series, two axes.
    shutil.copy(ROOT / "reports" / "train_base.csv", finished / "reports" / "train_base.csv")
    assert main([]) == 0
    found = asyncio.run(look(finished / "reports" / "report.html", finished))
    assert found["requests"] == [] and found["complaints"] == []
    assert found["without_alt"] == 0
    for name in ("phone", "desk", "dark", "paper"):
        assert found[f"{name}_overflow"] <= 0, name
        assert found[f"{name}_contrast"] >= 4.5, name
    assert found["slider"] == [1, "train_base: 001000"]
    assert found["wide"] >= 2, "at a desk, charts stand beside each other"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_two_runs_side_by_side_on_a_phone_and_a_desk(finished: Path, tmp_path_factory):
    shutil.copy(ROOT / "reports" / "train_base.csv", finished / "reports" / "train_base.csv")
    other = tmp_path_factory.mktemp("other") / "a_clone_with_a_rather_long_name"
    shutil.copytree(finished, other)
    assert main([".", str(other)]) == 0
    found = asyncio.run(look_at_two(finished / "reports" / "report_two.html", finished))
    assert found["requests"] == [] and found["complaints"] == [] and found["without_alt"] == 0
    for name in SIZES:
        assert found[f"{name}_overflow"] <= 0, name
        assert found[f"{name}_contrast"] >= 4.5, name


SIZES = {
    "phone": (400, 800, "light"),
    "desk": (1400, 900, "light"),
    "dark": (1400, 900, "dark"),
}


async def look_at_two(file: Path, folder: Path) -> dict:
    found: dict = {}
    async with browser_page(folder) as page:
        await page.open(file.as_uri())
        await look_in_all_sizes(page, folder / "two", found)
        await nothing_foreign(page, file, found)
    return found


async def look_in_all_sizes(page, place: Path, found: dict) -> None:
    for name, size in SIZES.items():
        await page.show(*size)
        await measure(page, name, found)
        await page.picture(place.with_name(f"{place.name}_{name}.png"))


async def nothing_foreign(page, file: Path, found: dict) -> None:
    found["without_alt"] = await page.run(
        "[...document.querySelectorAll('img, svg[role=img]')]"
        ".filter((e) => !(e.alt || e.getAttribute('aria-label'))).length"
    )
    found["requests"] = [x for x in page.requests if not x.startswith(("data:", file.as_uri()))]
    found["complaints"] = page.complaints


async def look(file: Path, folder: Path) -> dict:
    found: dict = {}
    async with browser_page(folder) as page:
        await page.open(file.as_uri())
        await look_in_all_sizes(page, folder / "report", found)
        found["wide"] = await page.run(
            "getComputedStyle(document.querySelectorAll('.wide')[1]).gridTemplateColumns"
            ".split(' ').length"
        )
        await page.run(
            "(() => { const i = document.querySelector('input'); i.value = 0;"
            " i.dispatchEvent(new Event('input')); })()"
        )
        found["slider"] = await page.run(
            "(() => { const f = [...document.querySelectorAll('[data-frames] figure')]"
            ".filter((one) => !one.hidden);"
            " return [f.length, f[0].querySelector('img').alt]; })()"
        )
        await page.call("Emulation.setEmulatedMedia", media="print")
        await measure(page, "paper", found)
        await nothing_foreign(page, file, found)
    return found


async def measure(page, name: str, found: dict) -> None:
    found[f"{name}_overflow"] = await page.run(OVERFLOW)
    texts = "'body, p, dt, dd, small, figcaption, th, td, pre, summary, .note'"
    found[f"{name}_contrast"] = await page.run(f"({CONTRAST})({texts})")
