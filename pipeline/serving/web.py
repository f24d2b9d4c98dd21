"""The HTTP side: paths, answers, and what each error becomes.

GET  /health      is it up, and how many images wait
GET  /v1/model    what the model takes, and its limits
POST /v1/images   one image as PNG, several as JSON with PNGs in base64
POST /v1/mix      style mixing, as JSON
POST /v1/walk     a walk between prompts or seeds, as MP4
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from components.errors import ConfigError, GanlineError, printable
from components.png import encode_png
from pipeline.serving.bodies import BODY_BYTES, read_images, read_mix, read_walk
from pipeline.serving.draw_queue import QueueClosed, QueueFull
from pipeline.serving.models import Drawer, Models

NOT_READ = "X-Tokens-Not-Read"  # of the longest prompt, in answers to prompts that were cut
NOT_KNOWN = "X-Words-Not-Known"  # of the prompt with most of them


def web_app(models: Models, *, timeout_s: float, for_page: bool = False) -> Starlette:
    """Return the application.

    Args:
        models: what it draws with.
        timeout_s: after which a request that still waits gets 503.
        for_page: whether a page is asking, which is also told where a model lies.
    """
    answers = _Answers(models, timeout_s, for_page=for_page)
    routes = [
        Route("/health", answers.health),
        Route("/v1/models", answers.listed),
        Route("/v1/model", answers.model),
        Route("/v1/images", answers.images, methods=["POST"]),
        Route("/v1/mix", answers.mix, methods=["POST"]),
        Route("/v1/walk", answers.walk, methods=["POST"]),
    ]
    return Starlette(routes=routes)


class _Answers:
    def __init__(self, models: Models, timeout_s: float, *, for_page: bool = False) -> None:
        self._models, self._timeout_s, self._for_page = models, timeout_s, for_page

    async def health(self, request: Request) -> Response:
        drawer = await run_in_threadpool(self._models.get)
        return JSONResponse({"status": "ok", "waiting": drawer.queue.waiting})

    async def listed(self, request: Request) -> Response:
        return JSONResponse({"models": self._models.listed()})

    async def model(self, request: Request) -> Response:
        async def work(drawer: Drawer, body: bytes) -> Response:
            facts = await run_in_threadpool(drawer.facts)
            place = {"folder": _shown(drawer.folder)} if self._for_page else {}
            return JSONResponse(facts | place)

        return await self._answer(request, work)

    async def images(self, request: Request) -> Response:
        async def work(drawer: Drawer, body: bytes) -> Response:
            asked = read_images(body, drawer.card)
            drawn = await self._result(drawer.images(asked))
            told = _Told(drawer, asked.subjects)
            if asked.format == "png" or (asked.format == "" and len(drawn) == 1):
                if len(drawn) > 1:
                    raise ConfigError(f"{len(drawn)} images as one PNG", "format", "use json")
                return Response(
                    encode_png(drawn[0]), media_type="image/png", headers=told.headers()
                )
            rows = zip(asked.subjects, asked.seeds, asked.truncations, drawn, strict=True)
            names = ("prompt", "seed", "truncation")
            found = [dict(zip(names, row[:3], strict=True)) | _base64(row[3]) for row in rows]
            for index, row in enumerate(found):
                row |= told.of(index)
            return JSONResponse({"images": found}, headers=told.headers())

        return await self._answer(request, work)

    async def mix(self, request: Request) -> Response:
        async def work(drawer: Drawer, body: bytes) -> Response:
            asked = read_mix(body, drawer.card)
            drawn = await self._result(drawer.mix(asked))
            pairs = zip(asked.style_seeds, drawn, strict=True)
            found = [{"style_seed": seed} | _base64(image) for seed, image in pairs]
            told = _Told(drawer, [asked.subject, asked.style])
            return JSONResponse({"images": found}, headers=told.headers())

        return await self._answer(request, work)

    async def walk(self, request: Request) -> Response:
        async def work(drawer: Drawer, body: bytes) -> Response:
            asked = read_walk(body, drawer.card)
            film = await self._result(drawer.walk(asked))
            told = _Told(drawer, asked.subjects)
            return Response(film, media_type="video/mp4", headers=told.headers())

        return await self._answer(request, work)

    async def _answer(self, request: Request, work: Callable[[Drawer, bytes], Any]) -> Response:
        """Do the work of a request; an error becomes a status and one line that names the key."""
        try:
            if unknown := sorted(set(request.query_params) - {"model"}):
                raise ConfigError(f"unknown parameter {unknown[0][:40]!r}", "URL", "use model")
            body = await _body(request)
            name = request.query_params.get("model", "")
            while True:
                drawer = await run_in_threadpool(self._models.get, name)
                with suppress(QueueClosed):  # another version came in between: ask that one
                    response: Response = await work(drawer, body)
                    return response
        except _TooLong:
            return _error(413, f"the body is longer than {BODY_BYTES} bytes", "body", "send less")
        except ConfigError as error:
            return _error(400, error.what, error.where, error.todo)
        except (QueueFull, TimeoutError):
            todo = "try again in a second"
            headers = {"Retry-After": "1"}
            return _error(503, "too many images are waiting", "queue", todo, headers)
        except GanlineError as error:
            return _error(500, error.what, error.where, error.todo)

    async def _result(self, result: Future[Any]) -> Any:
        """Wait for a drawing; who is gone, or waited too long, cancels what still waits."""
        return await asyncio.wait_for(asyncio.wrap_future(result), self._timeout_s)


class _TooLong(Exception):
    pass


async def _body(request: Request) -> bytes:
    """Return the body, reading no more than the limit."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES:
            raise _TooLong
        parts.append(part)
    return b"".join(parts)


def _error(
    status: int, what: str, where: str, todo: str, headers: dict[str, str] | None = None
) -> Response:
    content = {"error": printable(f"{what} ({where}): {todo}"), "where": printable(where)}
    return JSONResponse(content, status_code=status, headers=headers)


class _Told:
    """What of some prompts the model does not read: tokens behind its limit, words it never met."""

    def __init__(self, drawer: Drawer, subjects: Sequence[str]) -> None:
        self._cuts, self._words = drawer.not_read(subjects), drawer.unknown(subjects)

    def of(self, index: int) -> dict[str, Any]:
        """Return it for one prompt, ready for JSON; nothing where all is read."""
        found = {"tokens_not_read": self._cuts[index], "words_not_known": self._words[index]}
        return {name: value for name, value in found.items() if value}

    def headers(self) -> dict[str, str]:
        """Return the numbers of the prompt with most; nothing where all is read."""
        cut, unknown = max(self._cuts, default=0), max(map(len, self._words), default=0)
        return {name: str(n) for name, n in ((NOT_READ, cut), (NOT_KNOWN, unknown)) if n}


def _shown(folder: Path) -> str:
    """Return where a model lies, from here if it lies below: the page names it in commands."""
    folder = folder.absolute()
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _base64(image_HWC: Any) -> dict[str, str]:
    return {"png_base64": base64.b64encode(encode_png(image_HWC)).decode("ascii")}
