"""`ganline app` as a person uses it, in a real browser: type, draw, change, save, reload.

With GANLINE_DOC_PICTURES=docs/images the pictures of docs/serving.md are written anew.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import time
from pathlib import Path

import numpy as np
import pytest

from components.sampling import generate
from tests.pipeline.serving.browser import CHROMIUM, Page, browser_page
from tests.pipeline.serving.test_server import PROMPT, model, pixels, server

__all__ = ["model", "server"]
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
PICTURES = "[...document.querySelectorAll('#gallery img')]"
# Contrast of text and ground as WCAG 2 has it, of every element of a selector.
CONTRAST = """
(selector) => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (text) => {
    const [r, g, b] = rgb(text).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const found = getComputedStyle(e).backgroundColor;
      if (!/rgba\\(.*, 0\\)|transparent/.test(found)) return found;
    }
    return "rgb(255, 255, 255)";
  };
  return Math.min(...[...document.querySelectorAll(selector)].map((element) => {
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
}
"""


async def drawn(page: Page, count: int) -> list[np.ndarray]:
    """Wait for so many pictures in the gallery and return their pixels, the newest first."""
    await page.until(f"{PICTURES}.length === {count} && !document.getElementById('go').disabled")
    sources = await page.run(f"{PICTURES}.map((image) => image.src)")
    return [pixels(base64.b64decode(source.partition(",")[2])) for source in sources]


async def look(
    page: Page, name: str, width: int, height: int, scheme: str, folder: Path, found: dict
) -> None:
    """Take a picture, and measure what overflows and how well text stands out."""
    await page.show(width, height, scheme)
    found[f"{name}_overflow"] = await page.run(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    found[f"{name}_contrast"] = await page.run(
        f"({CONTRAST})('body, label, button, .error, figcaption, #help, a')"
    )
    await page.picture(folder / f"app_{name}.png")


async def use(address: str, folder: Path, found: dict) -> None:
    async with browser_page(folder) as page:
        await page.show(1400, 900)
        await page.open(address)
        await page.until("document.getElementById('status').textContent.startsWith('64 px')")
        await page.press("Enter")  # an empty form: nothing is asked, the field says why
        await page.run("document.getElementById('go').click()")
        found["empty"] = await page.run("document.getElementById('prompt-error').textContent")

        await page.type("prompt", PROMPT)
        started = time.monotonic()
        await page.press("Enter")
        found["first"] = await drawn(page, 4)
        found["first_s"] = time.monotonic() - started
        await page.type("seed", "11")
        await page.type("number", "1")
        started = time.monotonic()
        await page.run("document.getElementById('go').click()")
        found["changed"] = (await drawn(page, 5))[0]
        found["next_s"] = time.monotonic() - started
        await page.type("psi", "much")
        await page.run("document.getElementById('go').click()")
        found["wrong"] = await page.run("document.getElementById('psi-error').textContent")
        found["marked"] = await page.run("document.activeElement.id")
        await page.type("psi", "1")
        found["save"] = await page.run("document.querySelector('#gallery a').download")
        await page.run("document.getElementById('as-command').click()")
        found["command"] = await page.run("document.getElementById('copied').textContent")
        await page.run("document.getElementById('as-python').click()")
        found["python"] = await page.run("document.getElementById('copied').textContent")

        await page.run("document.getElementById('tab-draw').focus()")
        await page.press("ArrowRight")
        await page.press("ArrowRight")
        await page.type("layers", "1-2")
        await page.run("document.getElementById('as-python').click()")
        found["mix"] = await page.run("document.getElementById('copied').textContent")
        await page.run("document.getElementById('go').click()")
        found["mixed"] = (await drawn(page, 6))[0]
        await page.type("layers", "7")
        uses = "[...document.querySelectorAll('#gallery button')]"
        await page.run(f"{uses}.find((button) => button.textContent === 'Use').click()")
        await page.until("document.getElementById('layers').value === '1,2'")
        await page.run("document.getElementById('tab-mix').focus()")
        await page.press("ArrowRight")
        found["tab"] = await page.run("document.activeElement.id")
        await page.type("second", "a small green disc on a red background")
        await page.type("frames", "4")
        await page.run("document.getElementById('as-python').click()")
        found["walk"] = await page.run("document.getElementById('copied').textContent")
        await page.run("document.getElementById('go').click()")
        await page.until("document.querySelector('#gallery video')?.readyState > 0")
        await page.call("Page.reload")
        await page.until("document.readyState === 'complete'")
        found["kept"] = await drawn(page, 6)
        found["prompt"] = await page.run("document.getElementById('prompt').value")

        found["alts"] = await page.run(f"{PICTURES}.map((image) => image.alt)")
        found["unlabelled"] = await page.run(
            "[...document.querySelectorAll('input, select')].filter((e) => !e.labels.length).length"
        )
        await page.run("document.getElementById('tab-draw').click()")
        await look(page, "wide", 1400, 900, "light", folder, found)
        await look(page, "dark", 1400, 900, "dark", folder, found)
        await page.type("psi", "much")
        await page.run("document.getElementById('go').click()")
        await look(page, "phone", 400, 850, "light", folder, found)
        await page.type("psi", "1")
        await page.type("prompt", "a purple elephant")
        await page.run("document.getElementById('go').click()")
        await drawn(page, 7)
        found["strange"] = await page.run("document.getElementById('status').textContent")
        found["requests"], found["complaints"] = page.requests, page.complaints


@needs_browser
@pytest.mark.slow
def test_a_person_types_draws_changes_saves_and_reloads(server, model, tmp_path):
    found: dict = {}
    asyncio.run(use(f"{server}/", tmp_path, found))
    assert found["empty"] == "Say what the picture shows."
    expected = generate(model, [PROMPT] * 5, [0, 1, 2, 3, 11]).astype(int)
    assert np.abs(np.stack(found["first"]) - expected[:4]).max() <= 1
    assert np.abs(found["changed"] - expected[4]).max() <= 1
    assert found["wrong"] == "psi: a number from -2 to 2." and found["marked"] == "psi"
    assert found["save"].endswith("seed_11_psi_1.png")
    words = shlex.split(found["command"])
    assert words[:3] == ["ganline", "generate", PROMPT]
    assert words[3:8] == ["--seed", "11", "-n", "1", "--psi=1"]
    names: dict = {}
    exec(found["python"].partition("load_release(")[0].rpartition("\n")[0], names)
    assert {"load_release", "generate"} <= names.keys() and "seeds=[11]" in found["python"]
    exec(found["mix"], names)  # with what is on the screen it draws what was drawn there
    assert np.abs(found["mixed"] - names["images"][0].astype(int)).max() <= 1
    compile(found["walk"], "walk", "exec")
    assert "Keyframe(prompt='a small green" in found["walk"].replace('"', "'")
    assert "walk(model, stops, 4, loop=True, truncation=1)" in found["walk"]
    assert found["strange"].endswith("The model never learned: elephant.")
    assert found["tab"] == "tab-walk"
    assert len(found["kept"]) == 6 and found["prompt"] == PROMPT
    assert all(PROMPT in text for text in found["alts"]) and found["unlabelled"] == 0
    for name in ("wide", "phone", "dark"):
        assert found[f"{name}_overflow"] <= 0, name
        assert found[f"{name}_contrast"] >= 4.5, name
    foreign = [
        x for x in found["requests"] if not x.startswith((server, "data:", "blob:", "about:"))
    ]
    assert foreign == [] and found["complaints"] == []
    if folder := os.environ.get("GANLINE_DOC_PICTURES"):
        for name in ("wide", "phone", "dark"):
            (tmp_path / f"app_{name}.png").rename(Path(folder) / f"app_{name}.png")
        print(json.dumps({name: round(found[name], 3) for name in ("first_s", "next_s")}))
