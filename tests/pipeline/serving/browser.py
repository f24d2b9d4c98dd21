"""A real browser for tests: headless Chromium, spoken to by its own protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LIMIT_S = 120


class Page:
    """One page of a browser.

    Attributes:
        requests: the addresses that it asked for.
        complaints: what it wrote to its console as an error.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            content = json.loads(message.data)
            parameters = content.get("params", {})
            if "id" in content:
                self._waiting.pop(content["id"]).set_result(content)
            elif content["method"] == "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            elif content["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            elif content["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                self.complaints.append(parameters["entry"]["text"])

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        content = await asyncio.wait_for(answer, LIMIT_S)
        assert "error" not in content, content
        return content["result"]

    async def run(self, script: str) -> Any:
        """Return the value of an expression."""
        found = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = asyncio.get_running_loop().time() + LIMIT_S
        while not await self.run(f"Boolean({script})"):
            assert asyncio.get_running_loop().time() < end, f"never became true: {script}"
            await asyncio.sleep(0.05)

    async def open(self, address: str) -> None:
        await self.call("Page.navigate", url=address)
        await self.until("document.readyState === 'complete'")

    async def reload(self) -> None:
        """Load the page anew and wait until it is there."""
        await self.run("window.isOld = true")
        await self.call("Page.reload")
        end = asyncio.get_running_loop().time() + LIMIT_S
        while asyncio.get_running_loop().time() < end:
            with suppress(AssertionError):  # the old page goes while it is asked
                if await self.run("!window.isOld && document.readyState === 'complete'"):
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("the page did not load anew")

    async def type(self, selector: str, text: str) -> None:
        """Replace what a field holds, as a person does: focus, mark all, type."""
        await self.run(f"document.querySelector({selector!r}).focus()")
        await self.run(f"document.querySelector({selector!r}).select()")
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        codes = {"Enter": 13, "ArrowRight": 39, "Tab": 9}
        event = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **event, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    async def show(self, width: int, height: int, scheme: str = "light") -> None:
        """Give the page a size and a colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def click(self, selector: str) -> None:
        await self.run(f"document.querySelector({selector!r}).click()")

    async def text(self, selector: str) -> str:
        """Return what an element says, or what a field holds."""
        found = f"document.querySelector({selector!r})"
        return await self.run(f"{found}.value ?? {found}.textContent")

    async def save_below(self, folder: Path) -> None:
        """Let the page's downloads go into a folder."""
        where = {"behavior": "allow", "downloadPath": str(folder)}
        await self.call("Page.setDownloadBehavior", **where)

    async def picture(self, path: Path) -> None:
        found = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))


@asynccontextmanager
async def browser_page(folder: Path) -> AsyncIterator[Page]:
    """Start Chromium with an empty profile below a folder and give its first page."""
    assert CHROMIUM is not None
    profile = folder / "profile"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    options += ["--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [CHROMIUM, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port_file = profile / "DevToolsActivePort"
        for _ in range(LIMIT_S * 10):
            if port_file.is_file() and port_file.read_text().count("\n"):
                break
            assert process.poll() is None, "chromium has ended"
            await asyncio.sleep(0.1)
        port = port_file.read_text().split("\n")[0]
        async with aiohttp.ClientSession() as session:
            async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
                target = await answer.json()
            address = target["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=2**26) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await page.call(f"{domain}.enable")
                yield page
    finally:
        process.terminate()
        process.wait(60)
