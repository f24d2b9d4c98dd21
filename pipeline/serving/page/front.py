"""What the page's address answers: the page, requests for the model, and nothing else.

Gradio can also take uploads, fetch foreign addresses and serve its own API. Here it may not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.serving.bodies import BODY_BYTES
from pipeline.serving.page.model_client import ModelClient, Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# What Gradio's own page asks for; a folder ends with a slash or with "=".
PATHS = {
    "/",
    "/config",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    "/gradio_api/startup-events",
}
FOLDERS = (
    "/assets/",
    "/static/",
    "/gradio_api/queue/",
    "/gradio_api/heartbeat/",
    "/gradio_api/cancel",
    "/gradio_api/file=",
)
# The page's scripts and styles come with it, and it speaks with nobody but this server.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; "
    "form-action 'none'; base-uri 'self'; frame-ancestors 'none'"
)


def front(page: App, client: ModelClient) -> App:
    """Return the application of the page's process."""

    async def answer(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await page(scope, receive, send)
            return
        path = scope["path"]
        if path == "/health" or path.startswith("/v1/"):
            await (await _forwarded(Request(scope, receive), client))(scope, receive, send)
        elif (path in PATHS or path.startswith(FOLDERS)) and "://" not in path:
            await page(_uncompressed(scope), receive, _with_policy(send))
        else:
            content = {"error": f"nothing is at {path[:80]!r} (URL): open /", "where": "URL"}
            await JSONResponse(content, status_code=404)(scope, receive, send)

    return answer


def _uncompressed(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return a request that takes no compressed answer: here, sending costs less than that."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
    return {**scope, "headers": headers}


def _with_policy(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", []), (b"referrer-policy", b"no-referrer")]
            message["headers"] = [*headers, (b"content-security-policy", POLICY.encode())]
        await send(message)

    return sent


async def _forwarded(request: Request, client: ModelClient) -> Response:
    """Hand a request to the models' process; one that is too long is told so there."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        parts.append(part)
        if size > BODY_BYTES:
            break
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    try:
        answer = await run_in_threadpool(client.send, request.method, target, b"".join(parts))
    except Refused as error:
        content = {"error": str(error), "where": error.where}
        return JSONResponse(content, status_code=503, headers={"Retry-After": "1"})
    own = {"content-length", "transfer-encoding", "connection", "date", "server"}
    headers = {name: value for name, value in answer.headers.items() if name not in own}
    return Response(answer.content, status_code=answer.status, headers=headers)
