"""Helpers for the tests of the live page in a browser: a page that a thread serves, of a run that the test moves on."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Self

from axe_playwright_python.sync_playwright import Axe
from nodes_support import until
from playwright.sync_api import Locator, Page, expect
from view_support import RUN_ID, copies, ended, figures, of_run, planned
from web_support import Served, serving

from smssim.core.event import Event, Kind
from smssim.core.fleet import Fleet, Others, SenderRow
from smssim.core.limits import LIMITS
from smssim.core.model import RunFacts
from smssim.core.progress import LatencyShape
from smssim.core.session import State
from smssim.core.snapshot import Detail, Snapshot
from smssim.core.stall import Cause, Stall
from smssim.core.threshold import Threshold
from smssim.words import clock

AT_ONCE: Final = replace(LIMITS, page_shared_s=0.0, page_farewell_s=20.0)  # frames are due at once
ANSWERED_S: Final = 60.0
TOTAL: Final = 5000
GOALS: Final = (Threshold.parse("t50<20s"), Threshold.parse("failed<20%"))
EVENTS: Final = (Event(5.0, Kind.KILLED, "city was killed", "", "city"), Event(8.0, Kind.RESTARTED, "city is back"))
BEGAN_MS: Final = 1_800_000_000_000  # of a page whose clock is faked
BETAS: Final = "beta \N{MULTIPLICATION SIGN}40"  # as a table names them
STALL: Final = Stall(Cause.NO_SENDER, 4.0, 0, 0)
LATENCY: Final = LatencyShape((0.5, 1.0, 2.0), (7, 60, 30, 3), ((0.0, 0.1), (50.0, 0.75), (99.9, 2.5), (100.0, 3.0)))

Json = dict[str, Any]


def sender(number: int, at_s: float = 10.0, state: State = State.SENDING, name: str = "") -> SenderRow:
    """Return a sender that is no copy; each number has figures of its own."""
    name = name or f"{'abcdefghijklm'[number % 13]}{number}"
    sent, failed = int((7 + number * 37 % 101) * at_s), int(number % 5 * at_s)
    average = 0.02 + number * 0.0013 % 0.01
    done = sent + failed
    rate = done / at_s if at_s else 0.0
    return SenderRow(name, 0.02, 0.05, 1 + number % 7, state, sent, failed, done, average, rate, 10.0 + number, 3, 2)


def some_senders(at_s: float = 10.0) -> tuple[SenderRow, ...]:
    """Return senders in each state, and forty copies of one."""
    states = (State.SENDING, State.SENDING, State.WAITING, State.LOST, State.LEFT)
    return (*(sender(i, at_s, state) for i, state in enumerate(states)), *copies("beta", 40, State.LOST))


def thousand(at_s: float = 10.0) -> tuple[SenderRow, ...]:
    """Return a thousand senders, none of which are copies; the last is lost."""
    rows = [sender(i, at_s, name=f"node-{i:04}x") for i in range(999)]
    return (*rows, sender(999, at_s, State.LOST, "node-0999x"))


def moment(
    at_s: float,
    rows: Iterable[SenderRow] | None = None,
    run_id: str = RUN_ID,
    stall: Stall | None = None,
    events: tuple[Event, ...] = EVENTS,
    **more: object,
) -> Snapshot:
    """Return a moment of a run of 5,000 messages that makes 100 of them final each second."""
    known = figures(int(90 * at_s), int(10 * at_s), TOTAL, at_s, retried=int(3 * at_s), duplicates=2, **more)
    detail = Detail(RunFacts(run_id, 7, TOTAL, 3), LATENCY)
    fleet = Fleet(tuple(some_senders(at_s) if rows is None else rows), Others())
    seen = tuple(event for event in events if event.at_s <= at_s)
    return of_run(run_id, Snapshot(known, fleet, stall, plan=planned(), detail=detail, events=seen))


def end(run_id: str = RUN_ID, at_s: float = 50.0) -> Snapshot:
    """Return the end of such a run."""
    last, before = ended(), moment(at_s, run_id=run_id, in_flight=0, waiting=0, final=True, complete=True)
    return replace(before, summary=last.summary)


class Rehearsal:
    """A page that a thread serves."""

    def __init__(self, *moments: Snapshot, port: int = 0, **settings: Any) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(port, settings)), daemon=True)
        self._thread.start()
        assert self._ready.wait(ANSWERED_S)
        self.note(*moments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def _serve(self, port: int, settings: dict[str, Any]) -> None:
        settings = {"title": "Drill", "command": "smssim run drill.yaml", "threshold": GOALS, **settings}
        async with serving(AT_ONCE, port=port, **settings) as served:
            self.served, self.url, self.port = served, served.url, served.port
            self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
            self._ready.set()
            await self._end.wait()

    def do(self, what: Callable[[Served], Any]) -> Any:
        """Do something in the thread that serves the page."""

        async def done() -> Any:
            return what(self.served)

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(ANSWERED_S)

    def note(self, *moments: Snapshot) -> None:
        """Show these moments."""

        def note(served: Served) -> None:
            for one in moments:
                served.note(one)

        self.do(note)

    def viewers(self) -> int:
        """Return how many streams are open."""
        return int(self.do(_viewers))

    def until_viewers(self, number: int) -> None:
        """Wait until so many streams are open."""
        waiting = until(lambda: _viewers(self.served) == number)
        asyncio.run_coroutine_threadsafe(waiting, self._loop).result(ANSWERED_S)

    def state(self, run_id: str = "") -> Json:
        """Return the answer to /api/state."""
        with urllib.request.urlopen(f"{self.url}api/state?run={run_id}", timeout=ANSWERED_S) as answer:
            state: Json = json.load(answer)
        return state

    def kill(self) -> None:
        """End without a last word, as a monitor that is killed."""

        def cut(served: Served) -> None:
            assert served.page._page is not None
            server = served.page._page.server
            for one in server.servers:
                one.close()
            server.crowd.abort()

        self.do(cut)
        self.close()

    def close(self) -> None:
        """End as at the end of a monitor: viewers get the last frame and may fetch the report."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(ANSWERED_S)
            assert not self._thread.is_alive()


def rehearsed() -> Rehearsal:
    """Return a page of a run in its twelfth second."""
    return Rehearsal(*(moment(float(second)) for second in range(1, 13)))


def _viewers(served: Served) -> int:
    assert served.page._page is not None
    return len(served.page._page.viewers)


# ---- What a page says


def opened(page: Page, served: Rehearsal, path: str = "") -> Page:
    """Open a page and wait until it follows the run."""
    page.goto(served.url + path)
    served.until_viewers(1)
    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    return page


def says_done(page: Page, at_s: float) -> None:
    """Wait until the page shows this moment."""
    expect(page.locator("#verdict")).to_contain_text(f"at {clock(at_s)}")


def pairs(page: Page) -> dict[str, str]:
    """Return the terms on a page and what stands beside them."""
    found: list[list[str]] = page.locator("dt").evaluate_all(
        "all => all.map(dt => [dt.textContent, dt.nextElementSibling.innerText])"
    )
    return {term: " ".join(value.split()) for term, value in found}


def rows_of(table: Locator) -> list[dict[str, str]]:
    """Return the rows of a table by head; a second line of a cell, such as a range, is left out."""
    found: list[list[str]] = table.evaluate(
        "one => [...one.rows].map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    )
    heads, *rows = found
    return [dict(zip(heads, row, strict=True)) for row in rows]


def chart(page: Page, name: str) -> Locator:
    """Return a chart, once it is drawn."""
    found = page.get_by_role("slider", name=f"{name} (chart)", exact=True)
    expect(found.locator("canvas")).to_be_attached()
    return found


def spoken(found: Locator, *keys: str) -> str:
    """Press keys on a chart; return what it says then."""
    for key in keys:
        found.press(key)
    return found.get_attribute("aria-valuetext") or ""


def senders(page: Page) -> Locator:
    """Return the table of senders."""
    return page.locator("table.senders")


def names(page: Page) -> list[str]:
    """Return the first column of the table of senders."""
    return [row["sender"] for row in rows_of(senders(page))]


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with a page."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [f"{one['id']}: {[node['html'][:150] for node in one['nodes']][:3]}" for one in found]


def fits(page: Page) -> bool:
    """Return whether nothing is wider than the page."""
    return bool(page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"))


def metrics(page: Page) -> dict[str, float]:
    """Return what Chromium counts of a page, after it has collected garbage."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    found = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return {one["name"]: one["value"] for one in found}


def scripted(page: Page, document: Json, runs: list[Json]) -> None:
    """Answer the page with this document, and with no frames."""
    page.route("**/api/state*", lambda route: route.fulfill(json=document))
    page.route("**/api/runs", lambda route: route.fulfill(json=runs))
    page.route("**/api/events*", lambda route: None)  # never answered


@contextmanager
def counting(page: Page, part: str) -> Iterator[list[str]]:
    """Yield the paths with this part that a page requests meanwhile."""
    asked: list[str] = []

    def note(request: Any) -> None:
        if part in request.url:
            asked.append(request.url)

    page.on("request", note)
    try:
        yield asked
    finally:
        page.remove_listener("request", note)
