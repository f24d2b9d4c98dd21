"""Asks the process that holds the models, over HTTP; it needs neither torch nor Gradio."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from components.errors import GanlineError
from pipeline.serving.page.asked import Asked
from pipeline.serving.web import NOT_KNOWN

# The longest that a model may take to be fetched and opened; a drawing is cut off by the other end.
PATIENCE_S = 600.0
_DEAD = "the process that draws does not answer"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What came of a drawing: files with their settings, and what the model does not know."""

    pictures: list[tuple[bytes, Asked]]
    words_not_known: list[str]
    number_not_known: int


class Refused(GanlineError):
    """The models' process refuses a request, or cannot be reached."""


class ModelClient:
    """The models behind an address.

    Args:
        host, port: where their process listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._at = (host, port)

    def send(self, method: str, target: str, body: bytes = b"") -> Answer:
        """Send a request and return its answer, whatever its status.

        A request whose process dies is sent once more: the next process listens at the same place,
        and a drawing changes nothing.

        Raises:
            Refused: there is no answer.
        """
        try:
            return self._send(method, target, body)
        except (OSError, http.client.HTTPException):
            try:
                return self._send(method, target, body)
            except (OSError, http.client.HTTPException) as error:
                todo = "is `ganline app` still running? Try again"
                raise Refused(_DEAD, "server", todo) from error

    def _send(self, method: str, target: str, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(*self._at, timeout=PATIENCE_S)
        try:
            connection.request(method, target, body)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(status=answer.status, headers=headers, content=answer.read())
        finally:
            connection.close()

    def models(self) -> list[tuple[str, str]]:
        """Return title and id of each model, the default first."""
        found = json.loads(self._good("GET", "/v1/models").content)["models"]
        return [(one["title"], one["id"]) for one in found]

    def facts(self, model: str = "") -> dict[str, Any]:
        """Return what there is to know of a model, which is opened; "" = the default."""
        facts: dict[str, Any] = json.loads(self._good("GET", "/v1/model", model).content)
        return facts

    def draw(self, asked: Asked, second_seeds: tuple[int, ...] = ()) -> Drawn:
        """Draw, and return each picture with the settings of its own.

        Args:
            asked: for what.
            second_seeds: of a mix, one picture each; () = its own.

        Raises:
            Refused: the request is wrong, or too much waits already.
        """
        path, body = asked.request(second_seeds)
        content = json.dumps(body).encode()
        answer = self._good("POST", f"/v1/{path}", asked.model, content)
        number = int(answer.headers.get(NOT_KNOWN.lower(), 0))
        if path == "walk":
            return Drawn(
                pictures=[(answer.content, asked)], words_not_known=[], number_not_known=number
            )
        pictures, words = [], dict[str, None]()
        for one in json.loads(answer.content)["images"]:
            if path == "mix":
                settings = replace(asked, second_seed=one["style_seed"])
            else:
                settings = asked.alone(one["seed"], one["truncation"])
            words |= dict.fromkeys(one.get("words_not_known", []))
            pictures.append((base64.b64decode(one["png_base64"]), settings))
        return Drawn(pictures=pictures, words_not_known=[*words], number_not_known=number)

    def _good(self, method: str, path: str, model: str = "", body: bytes = b"") -> Answer:
        target = f"{path}?model={quote(model, safe='')}" if model else path
        answer = self.send(method, target, body)
        if answer.status != 200:
            raise _refused(answer)
        return answer


def _refused(answer: Answer) -> Refused:
    try:
        content = json.loads(answer.content)
        said, where = str(content["error"]), str(content["where"])
        what, _, todo = said.partition(f" ({where}): ")
        return Refused(what, where, todo)
    except (ValueError, KeyError, TypeError):
        return Refused(f"the server answered {answer.status}", "server", "try again")
