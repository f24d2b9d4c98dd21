"""`dvc plots show` without a network: the page has its scripts inside and asks nobody."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.pipeline.serving.browser import CHROMIUM, browser_page
from tests.test_dvcignore import run

ROOT = Path(__file__).resolve().parent.parent
GRAPH = """
stages: {}
plots:
  - curve.csv: {template: series, x: kimg, y: value}
  - two.csv: {template: linear, x: kimg, y: value}
  - sheet.png
"""


@pytest.mark.slow
def test_the_page_of_plots_asks_nobody_and_draws(tmp_path: Path) -> None:
    run("dvc", "init", "--quiet", "--no-scm", cwd=tmp_path)
    settings = (ROOT / ".dvc" / "config").read_text()
    own = settings.replace("[core]\n", "[core]\n    no_scm = true\n")
    (tmp_path / ".dvc" / "config").write_text(own)
    shutil.copytree(ROOT / ".dvc" / "plots", tmp_path / ".dvc" / "plots", dirs_exist_ok=True)
    rows = [f"{x},{name},{x * k}\n" for name, k in (("loss", 1), ("sign", 2)) for x in range(5)]
    (tmp_path / "curve.csv").write_text("kimg,series,value\n" + "".join(rows))
    (tmp_path / "two.csv").write_text("kimg,value\n1,2\n2,4\n")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "sheet.png")
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    run("dvc", "plots", "show", cwd=tmp_path)
    page = tmp_path / "dvc_plots" / "index.html"
    text = page.read_text()
    assert not re.search(r"<(script|link|iframe)[^>]+(src|href)=", text)
    if CHROMIUM is None:
        pytest.skip("the page was not opened: apt-get install chromium")
    found = asyncio.run(look(page, tmp_path))
    assert found["complaints"] == [] and found["charts"] == 2
    assert all(x.startswith(("file:", "data:", "blob:")) for x in found["requests"])
    assert found["pictures"] == [8]


async def look(file: Path, folder: Path) -> dict:
    async with browser_page(folder) as page:
        await page.open(file.as_uri())
        await page.until(
            "document.querySelectorAll('.vega-embed canvas, .vega-embed svg').length > 1"
        )
        charts = (
            "document.querySelectorAll('.vega-embed canvas, .vega-embed > div svg.marks').length"
        )
        return {
            "charts": await page.run(charts),
            "pictures": await page.run(
                "[...document.querySelectorAll('img')].map((one) => one.naturalWidth)"
            ),
            "requests": page.requests,
            "complaints": page.complaints,
        }
