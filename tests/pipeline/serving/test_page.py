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
PICTURES = "[...document.querySelectorAll('#gallery .thumbnail-lg img')]"
SAID = "#status p"
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


def field(name: str) -> str:
    """Return the selector of what a person types into."""
    return f"#{name} :is(input, textarea)"


async def drawn(page: Page, count: int) -> list[np.ndarray]:
    """Wait for so many pictures in the gallery and return their pixels, the newest first."""
    loaded = f"{PICTURES}.every((image) => image.complete && image.naturalWidth)"
    await page.until(f"{PICTURES}.length === {count} && {loaded}")
    found = await page.run(
        f"""Promise.all({PICTURES}.map(async (image) => {{
          const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
          return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }}))"""
    )
    return [pixels(base64.b64decode(one)) for one in found]


async def write(page: Page, name: str, text: str) -> None:
    """Type into a field of a tab that has just come, until it stands there.

    Gradio makes a tab's fields when it is first seen: what is typed in that moment is lost.
    """
    stands = f"document.querySelector({field(name)!r}).value === {text!r}"
    while True:
        await page.type(field(name), text)
        await asyncio.sleep(0.3)
        if await page.run(stands):
            return


async def told(page: Page, name: str) -> str:
    """Wait for a sentence beside a field and return it."""
    await page.until(f"document.querySelector('#{name} div.validation-error')")
    return await page.text(f"#{name} div.validation-error")


async def copied(page: Page, button: str) -> str:
    """Press a button that copies, and return the text that it shows."""
    before = await page.run(f"document.querySelector({field('copied')!r})?.value ?? ''")
    await page.click(button)
    await page.until(
        f"![undefined, {before!r}].includes(document.querySelector({field('copied')!r})?.value)"
    )
    return await page.text(field("copied"))


async def look(
    page: Page, name: str, width: int, height: int, scheme: str, folder: Path, found: dict
) -> None:
    """Take a picture, and measure what overflows and how well text stands out."""
    await page.show(width, height, scheme)
    await asyncio.sleep(0.5)  # colours change slowly there
    found[f"{name}_overflow"] = await page.run(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    texts = "body, h1, h2, p, label span, [role=tab], button, input, textarea, .caption-label"
    found[f"{name}_contrast"] = await page.run(f"({CONTRAST})('{texts}, div.validation-error')")
    await page.picture(folder / f"app_{name}.png")


async def draw_and_change(page: Page, folder: Path, found: dict) -> None:
    await page.click("#go")  # an empty form: nothing is asked, the field says why
    found["empty"] = await told(page, "prompt")
    await page.type(field("prompt"), PROMPT)
    started = time.monotonic()
    await page.press("Enter")
    found["first"] = await drawn(page, 4)
    found["first_s"] = time.monotonic() - started
    await page.type(field("seed"), "11")
    await page.type(field("number"), "1")
    started = time.monotonic()
    await page.click("#go")
    found["changed"] = (await drawn(page, 5))[0]
    found["next_s"] = time.monotonic() - started
    await page.type(field("psi"), "7")
    await page.click("#go")
    found["wrong"] = await told(page, "psi")
    await page.type(field("psi"), "1")
    found["command"] = await copied(page, "#as-command")
    found["python"] = await copied(page, "#as-python")
    await page.click("#dice")
    await page.until(f"document.querySelector({field('seed')!r}).value !== '11'")


async def choose_and_save(page: Page, folder: Path, found: dict) -> None:
    await page.save_below(folder)
    await page.click("#gallery .thumbnail-lg")
    await page.until("document.querySelector('#use')?.offsetParent")
    await page.click("#gallery [aria-label=Download]")
    while not (saved := list(folder.glob("*.png"))):
        await asyncio.sleep(0.05)
    found["save"], found["saved"] = saved[0].name, pixels(saved[0].read_bytes())
    found["one"] = await copied(page, "#one-command")
    await page.click("#use")
    await page.until(f"document.querySelector({field('seed')!r}).value === '11'")
    await page.click("#vary")
    found["varied"] = await drawn(page, 9)


async def mix_and_walk(page: Page, found: dict) -> None:
    await page.run("document.getElementById('tab-draw-button').focus()")
    for _ in range(2):
        await page.press("Tab")
    await page.press("Enter")  # the keyboard alone
    await page.until("document.querySelector('#tab-mix-button[aria-selected=true]')")
    await write(page, "layers", "1-2")
    found["mix"] = await copied(page, "#as-python")
    assert "[1, 2]" in found["mix"]
    await page.click("#go")
    found["mixed"] = (await drawn(page, 10))[0]
    await page.type(field("layers"), "99")
    await page.click("#go")
    found["layers"] = await told(page, "layers")
    await page.click("#gallery .thumbnail-lg")
    await page.until("document.querySelector('#use')?.offsetParent")
    await page.click("#use")
    await page.until(f"document.querySelector({field('layers')!r}).value === '1,2'")
    await page.click("#tab-walk-button")
    await write(page, "walk-second", "a small green disc on a red background")
    await write(page, "frames", "4")
    found["walk"] = await copied(page, "#as-python")
    await page.click("#go")
    await page.until("document.querySelector('#gallery .thumbnail-lg video')?.readyState > 0")
    found["film"] = await page.text("#gallery .caption-label")


async def use(address: str, folder: Path, found: dict) -> None:
    async with browser_page(folder) as page:
        await page.show(1400, 900)
        await page.open(address)
        await page.until(f"document.querySelector('{SAID}')?.textContent.startsWith('64 px')")
        await draw_and_change(page, folder, found)
        await choose_and_save(page, folder, found)
        await mix_and_walk(page, found)
        await asyncio.sleep(1)  # until the browser has stored what was drawn
        await page.reload()
        found["kept"] = await drawn(page, 10)
        found["prompt"] = await page.text(field("prompt"))
        found["walk_second"] = await page.text(field("walk-second"))
        found["alts"] = await page.run(f"{PICTURES}.map((image) => image.alt)")
        found["unlabelled"] = await page.run(
            "[...document.querySelectorAll('input, textarea, select, button')].filter((e) =>"
            " e.offsetParent && !e.labels?.length && !e.ariaLabel && !e.textContent.trim()).length"
        )
        await page.click("#tab-draw-button")
        await look(page, "wide", 1400, 900, "light", folder, found)
        await look(page, "dark", 1400, 900, "dark", folder, found)
        await page.type(field("psi"), "7")
        await page.click("#go")
        await told(page, "psi")
        await look(page, "phone", 400, 850, "light", folder, found)
        await page.show(1400, 900)
        await page.type(field("psi"), "1")
        await page.type(field("prompt"), "a purple elephant")
        await page.click("#go")
        await drawn(page, 11)
        found["strange"] = await page.text(SAID)
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
    assert found["wrong"] == "psi: a number from -2 to 2."
    assert found["save"].endswith("seed_11_psi_1.png")
    assert (found["saved"] == found["changed"]).all() and found["one"] == found["command"]
    assert len({one.tobytes() for one in found["varied"][:4]}) == 4
    words = shlex.split(found["command"])
    assert words[:3] == ["ganline", "generate", PROMPT]
    assert words[3:8] == ["--seed", "11", "-n", "1", "--psi=1"]
    names: dict = {}
    exec(found["python"].partition("load_release(")[0].rpartition("\n")[0], names)
    assert {"load_release", "generate"} <= names.keys() and "seeds=[11]" in found["python"]
    exec(found["mix"], names)  # with what is on the screen it draws what was drawn there
    assert np.abs(found["mixed"] - names["images"][0].astype(int)).max() <= 1
    assert found["layers"].startswith("Layers from 0 to ")
    compile(found["walk"], "walk", "exec")
    assert "Keyframe(prompt='a small green" in found["walk"]
    assert "walk(model, stops, 4, loop=True, truncation=1)" in found["walk"]
    assert found["film"].startswith(PROMPT)
    assert found["strange"].endswith("The model never learned: elephant.")
    assert found["prompt"] == PROMPT and found["walk_second"].startswith("a small green")
    assert all(PROMPT in text for text in found["alts"]) and found["unlabelled"] == 0
    for name in ("wide", "phone", "dark"):
        assert found[f"{name}_overflow"] <= 0, name
        assert found[f"{name}_contrast"] >= 4.5, name
    foreign = [
        x for x in found["requests"] if not x.startswith((server, "data:", "blob:", "about:"))
    ]
    # A form that is refused is an error of HTTP to the browser.
    strange = [text for text in found["complaints"] if "status of 422" not in text]
    assert foreign == [] and strange == []
    if folder := os.environ.get("GANLINE_DOC_PICTURES"):
        for name in ("wide", "phone", "dark"):
            (tmp_path / f"app_{name}.png").rename(Path(folder) / f"app_{name}.png")
        print(json.dumps({name: round(found[name], 3) for name in ("first_s", "next_s")}))
