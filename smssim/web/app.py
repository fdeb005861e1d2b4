"""What the page answers to which request.

Knows paths, starlette, and where answers come from. Must not know sockets.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from smssim.core.limits import LIMITS, Limits
from smssim.outputs.of_course import Seen
from smssim.process.logs import Log
from smssim.process.waiting import Wakeup
from smssim.web import answers, assets, reports
from smssim.web.assets import Content
from smssim.web.book import Book, is_over
from smssim.web.connection import Connection
from smssim.web.frames import encoded
from smssim.web.gate import Gate
from smssim.web.shared import Shared
from smssim.web.viewers import FullError, Viewer, Viewers

JSON: Final = "application/json"
STREAM: Final = {"content-type": "text/event-stream", **answers.NO_STORE}
LEVEL: Final = 5  # of the compression of a state: 1.6 ms for a thousand senders; level 9 saves 2% and takes 4 ms
RETRY_S: Final = 5
OPENING: Final = b"retry: 1000\n\n"  # milliseconds until a browser connects again
SIGN: Final = b":\n\n"  # of life


class App:
    """The page as an ASGI application."""

    def __init__(
        self, gate: Gate, book: Book, viewers: Viewers, history: str | None, log: Log, limits: Limits = LIMITS
    ) -> None:
        """`history`: the directory with kept runs, if runs are kept."""
        self.states = self.reports = 0  # sent
        self.busy = 0  # requests that are being answered
        self.progress = Wakeup()  # rung whenever one has been answered
        self.shared = Shared(limits)
        self._gate = gate
        self._book = book
        self._viewers = viewers
        self._history = history
        self._log = log
        self._limits = limits
        self._has_failed = False
        self._files = assets.load(keeps=history is not None)
        self._router = Router(
            [
                Route("/", self._index),
                Route("/static/{path:path}", self._static),
                Route("/api/state", self._state),
                Route("/api/events", self._events),
                Route("/api/runs", self._runs),
                Route("/api/report", self._report),
                Route("/runs", self._kept),
                Route("/runs/{run_id}", self._kept_run),
            ],
            redirect_slashes=False,
            default=_unknown,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = answers.complete(message["headers"])
            await send(message)

        query, headers = scope["query_string"].decode("latin-1"), dict(Headers(scope=scope))
        turned = self._gate.check(scope["method"], scope["path"], query, headers)
        answer = self._router if turned is None else answers.of_turned(turned)
        self.busy += 1
        try:
            await answer(scope, receive, send_with_headers)
        except Exception:  # noqa: BLE001 - a failed answer must not end the node
            self._note_failure()
            if started:
                scope["state"]["connection"].abort()
            else:
                failed = answers.text(HTTPStatus.INTERNAL_SERVER_ERROR, "the page failed: see the log of the node")
                await failed(scope, receive, send_with_headers)
        finally:
            self.busy -= 1
            self.progress.ring()

    def _note_failure(self) -> None:
        if not self._has_failed:
            self._has_failed = True
            self._log.exception("The page failed to answer a request; further failures are not logged")

    # -- each path

    async def _index(self, request: Request) -> Response:
        return self._file(request, assets.INDEX)

    async def _static(self, request: Request) -> Response:
        return self._file(request, request.path_params["path"])

    def _file(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        return _none("file") if file is None else self._sent(request, file)

    async def _state(self, request: Request) -> Response:
        asked = request.query_params.get("run", "")
        seen = self._book.find(asked)
        if seen is None:
            state = encoded(self._book.state(None))
            return _none("run") if asked else self._sent(request, Content(JSON, state))
        answer = self._sent(request, await self._made("state", seen, self._make_state))
        self.states += request.method == "GET"
        return answer

    async def _runs(self, request: Request) -> Response:
        return self._sent(request, Content(JSON, encoded(self._book.runs())))

    async def _report(self, request: Request) -> Response:
        seen = self._book.find(request.query_params.get("run", ""))
        if seen is None:
            return _none("run")
        answer = self._sent(request, await self._made("report", seen, self._make_report))
        self.reports += request.method == "GET"
        return answer

    async def _kept(self, request: Request) -> Response:
        if self._history is None:
            return answers.text(HTTPStatus.NOT_FOUND, "no runs are kept: start the monitor with --history DIR")
        return self._sent(request, await asyncio.to_thread(reports.kept, self._history))

    async def _kept_run(self, request: Request) -> Response:
        if self._history is None:
            return await self._kept(request)
        found = await asyncio.to_thread(reports.kept_run, self._history, request.path_params["run_id"])
        return _none("run") if found is None else self._sent(request, found)

    async def _events(self, request: Request) -> Response:
        asked = request.query_params.get("run", "")
        if asked and self._book.find(asked) is None:
            return _none("run")
        if request.method == "HEAD":
            return Response(headers=STREAM)
        try:
            return _Stream(self._viewers, self._viewers.join(asked), self._limits)
        except FullError:
            status, most = HTTPStatus.SERVICE_UNAVAILABLE, self._limits.page_viewers_max
            return answers.text(status, f"{most} viewers are connected already", {"retry-after": str(RETRY_S)})

    # -- what takes long to make

    async def _made(self, what: str, seen: Seen, make: Callable[[Seen], Any]) -> Content:
        key = f"{what} {seen.snapshot.figures.run_id}"
        content = await self.shared.get(key, seen.snapshot, lambda: make(seen), is_last=is_over(seen))
        assert isinstance(content, Content)
        return content

    async def _make_state(self, seen: Seen) -> Content:
        """Return the state of a run. Between its parts, other tasks have their turns."""
        parts = []
        for name, value in self._book.state(seen).items():
            parts.append(encoded(name) + b":" + encoded(value))
            await asyncio.sleep(0)
        body = b"{" + b",".join(parts) + b"}"
        return Content(JSON, body, await asyncio.to_thread(gzip.compress, body, LEVEL))

    async def _make_report(self, seen: Seen) -> Content:
        return await asyncio.to_thread(reports.content, seen.document())

    def _sent(self, request: Request, content: Content) -> Response:
        return answers.of_content(content, request.headers, self._limits.page_piece_bytes)


class _Stream(Response):
    """The frames of a run, for one viewer."""

    def __init__(self, viewers: Viewers, viewer: Viewer, limits: Limits) -> None:
        super().__init__(headers=STREAM)
        self._viewers = viewers
        self._viewer = viewer
        self._piece_bytes = limits.page_piece_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send frames until there are no more, or the viewer has left."""
        connection: Connection = scope["state"]["connection"]
        viewers, viewer = self._viewers, self._viewer
        connection.when_lost = viewer.news.set
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        try:
            await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
            await send_piece(send, OPENING)
            while not connection.is_lost:
                await send_piece(send, b"")  # waits until what was sent has drained: only then choose the newest frame
                message = viewers.next(viewer)
                if message is not None:
                    await answers.send_pieces(send, message, self._piece_bytes)
                elif viewer.is_over:
                    break
                elif not await viewers.wait(viewer):
                    await send_piece(send, SIGN)
            await send({"type": "http.response.body", "body": b""})
        finally:
            viewers.leave(viewer)


async def send_piece(send: Send, body: bytes) -> None:
    """Send a piece of a body, to which more will be added."""
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    await _none("page")(scope, receive, send)


def _none(what: str) -> Response:
    return answers.text(HTTPStatus.NOT_FOUND, f"no such {what}")
