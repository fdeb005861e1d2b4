"""A small HTTP server for one page, with bounds on connections, size and time. Serves Prometheus, curl and browsers.

Knows sockets and HTTP/1.1, with one request per connection. Must not know what is on the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from smssim.core.limits import LIMITS, Limits
from smssim.errors import bad_value
from smssim.net.hosts import is_here

END: Final = b"\r\n\r\n"

Page = Callable[[str], tuple[str, bytes]]  # from a request's Accept header to the content type and the body


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: the page, or a text for people."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    header: str = ""

    def encoded(self) -> bytes:
        """Return the response as bytes to send."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
            *([self.header] if self.header else []),
        ]
        return "\r\n".join(lines).encode("latin-1") + END + self.body


@dataclass(frozen=True, slots=True)
class Desk:
    """Decides what to answer to a request."""

    path: str  # of the page
    page: Page
    admits: Callable[[str | None], bool]  # whether to accept a request with this Authorization header
    only_here: bool  # serve this machine only, and reject other names in the Host header (DNS rebinding)

    def answer(self, head: bytes) -> Answer:
        """Return the answer to a request; `head`: everything up to the first empty line."""
        first, *lines = head.decode("latin-1").split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            headers.setdefault(name.lower(), []).append(value.strip())
        words, hosts = first.split(" "), headers.get("host", [])
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or len(hosts) != 1:
            return _refusal(HTTPStatus.BAD_REQUEST, "malformed request; expected HTTP/1.1 with one Host header")
        if self.only_here and not is_here(hosts[0]):
            return _refusal(HTTPStatus.FORBIDDEN, "wrong host in the Host header; expected localhost or 127.0.0.1")
        if not self.admits(next(iter(headers.get("authorization", [])), None)):
            reason = "missing or wrong token; expected the header Authorization: Bearer TOKEN"
            return _refusal(HTTPStatus.UNAUTHORIZED, reason, "WWW-Authenticate: Bearer")
        if words[0] != "GET":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "expected GET", "Allow: GET")
        if _path_of(words[1]) not in ("/", self.path):
            return _refusal(HTTPStatus.NOT_FOUND, f"the page is at {self.path}")
        content_type, body = self.page(headers.get("accept", ["*/*"])[0])
        return Answer(HTTPStatus.OK, body, content_type)


def _refusal(status: HTTPStatus, says: str, header: str = "") -> Answer:
    return Answer(status, f"{says}\n".encode(), header=header)


def _path_of(target: str) -> str:
    try:
        return urlsplit(target).path
    except ValueError:
        return ""


def listen(flag: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens on this address. Raises UsageError, which names the flag of the port."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address, family=family, dualstack_ipv6=both)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise bad_value(flag, port, f"an available port on {host} ({why.lower()})") from error


def shown(host: str) -> str:
    """Return a host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


class HttpServer:
    """Serves the answers of a `Desk`.

    A slow client does not delay others: connections have a time limit, and one connection too many ends the oldest one.
    """

    def __init__(self, desk: Desk, limits: Limits = LIMITS) -> None:
        self.port = 0
        self._limits = limits
        self._desk = desk
        self._open: dict[asyncio.StreamWriter, None] = {}  # oldest first
        self._serving: set[asyncio.Task[None]] = set()  # one for each connection, aborted ones included
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Serve the connections of this socket."""
        self._server = await asyncio.start_server(self._come, sock=listening, limit=self._limits.http_head_bytes_max)
        self.port = listening.getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and end all open connections."""
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)
        await self._server.wait_closed()

    def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > self._limits.http_connections_max:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        try:
            with contextlib.suppress(OSError, EOFError, TimeoutError):  # the client has left or is too slow
                async with asyncio.timeout(self._limits.http_connection_s):
                    await self._answer(reader, writer)
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = self._desk.answer(await reader.readuntil(END))
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            answer = _refusal(status, f"too many headers; expected at most {self._limits.http_head_bytes_max:,} bytes")
        writer.write(answer.encoded())
        writer.close()
        await writer.wait_closed()
