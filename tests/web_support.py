"""Helpers for the tests of the live page: a page that is served in this process, and plain clients on sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import pytest
from view_support import RUN_ID, ended, figures, of_run, row

from smssim.core.course import Course
from smssim.core.fleet import Fleet
from smssim.core.history import History
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts
from smssim.core.progress import LatencyShape
from smssim.core.snapshot import Detail, Snapshot
from smssim.net import access
from smssim.process import ready
from smssim.process.logs import node_log
from smssim.settings import MonitorSettings, WatchSettings
from smssim.web.page import Page

TOKEN: Final = "open-sesame-1001"
QUICK: Final = replace(LIMITS, page_shared_s=0.02, page_farewell_s=0.2)

Frame = dict[str, Any]


def seen_at(elapsed_s: float, senders: int = 4, run_id: str = RUN_ID, **more: object) -> Snapshot:
    """Return a detailed snapshot of a run in progress."""
    detail = Detail(RunFacts(run_id, 7, 5000, 3), LatencyShape((0.5, 1.0), (1, 2, 3), ((0.0, 0.1), (100.0, 2.0))))
    fleet = Fleet(tuple(row(f"sender-{i}") for i in range(1, senders + 1)))
    made = Snapshot(figures(elapsed_s=elapsed_s, **more), fleet, detail=detail)  # type: ignore[arg-type]
    return of_run(run_id, made)


def end_of(run_id: str = RUN_ID) -> Snapshot:
    """Return the last snapshot of a run."""
    return replace(of_run(run_id, ended()), detail=seen_at(1.0).detail)


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def parsed(answer: bytes) -> Answer:
    """Return an answer that was received whole, without chunks."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"a header occurs twice in {names}"
    return Answer(int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}, body)


class Stream:
    """An open stream of frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.signs = 0  # of life
        self._body = b""  # received and not read

    async def next(self) -> tuple[str, Frame] | None:
        """Return the next event and its value; None at the end."""
        event = ""
        while line := await self._line():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data":
                return event, json.loads(value)
            self.signs += line == b":\n"
        return None

    async def frame(self) -> Frame:
        """Return the next frame."""
        event = await self.next()
        assert event is not None
        assert event[0] == "frame"
        return event[1]

    async def rest(self) -> list[str]:
        """Return the events until the end."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event[0])
        return events

    async def _line(self) -> bytes:
        """Return the next line of the body, empty at its end."""
        while b"\n" not in self._body:
            size = await self.reader.readline()
            if not size or int(size, 16) == 0:
                return b""
            self._body += (await self.reader.readexactly(int(size, 16) + 2))[:-2]
        line, _, self._body = self._body.partition(b"\n")
        return line + b"\n"

    def close(self) -> None:
        self.writer.transport.abort()


class Served:
    """A page that is served."""

    def __init__(self, page: Page, url: str, said: list[str]) -> None:
        self.page, self.url, self.said = page, url, said
        self.port = int(url.rpartition(":")[2].strip("/"))
        self.courses: dict[str, Course] = {}
        self.tls: ssl.SSLContext | None = None
        self.host = "127.0.0.1"
        self._writers: list[asyncio.StreamWriter] = []

    def note(self, snapshot: Snapshot) -> Self:
        """Show a moment."""
        course = self.courses.setdefault(snapshot.figures.run_id, Course())
        course.note(snapshot)
        self.page.noted(snapshot, course)
        if snapshot.summary is not None:
            self.page.end(snapshot, History())
        return self

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls, limit=1 << 22)
        self._writers.append(writer)
        return reader, writer

    def disconnect(self) -> None:
        """Close all connections of clients."""
        for writer in self._writers:
            writer.transport.abort()

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and return everything that is received until the connection is closed."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()

    async def ask(self, target: str = "/", method: str = "GET", **headers: str) -> Answer:
        """Send a request with these headers, an empty one left out; return the answer."""
        return parsed(await self.raw(request(target, method, **headers)))

    async def follow(self, run_id: str = "", **headers: str) -> Stream:
        """Open a stream of frames."""
        reader, writer = await self.connect()
        query = f"?run={run_id}" if run_id else ""
        writer.write(request(f"/api/events{query}", **headers))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return Stream(reader, writer)


def request(target: str = "/", method: str = "GET", **headers: str) -> bytes:
    """Return a request; `_` in the name of a header stands for a hyphen."""
    all_headers = {"Host": "localhost:1", "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in all_headers.items() if value]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


@contextlib.asynccontextmanager
async def serving(
    limits: Limits = QUICK, *, watches: bool = False, port: int = 0, **settings: Any
) -> AsyncIterator[Served]:
    """Serve a page; close it at the end."""
    kind = WatchSettings if watches else MonitorSettings
    made = kind(web=port, **settings)
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        log = node_log("monitor")
        urls: list[str] = []
        patch.setattr(log, "info", lambda text, *args: said.append(text % args))
        patch.setattr(log, "exception", lambda text, *args: said.append(text % args))
        patch.setattr(log, "error", lambda text, *args: said.append(text % args))
        patch.setattr(ready, "announce", lambda event, url, **more: urls.append(url))
        page = Page(made, log, limits)
        page.access = access.load(made, warns=False)
        page.check()
        page.open()
        served = Served(page, urls[0], said)
        try:
            yield served
        finally:
            await page.close()
            served.disconnect()
