"""The output that is a live page: when it is opened, what it takes from the node, and how it ends.

Knows its settings and the clock. Must stay cheap to import: starlette, uvicorn and gRPC are loaded when it is opened.
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smssim.core.course import Course
from smssim.core.history import History
from smssim.core.limits import LIMITS, Limits
from smssim.core.snapshot import Snapshot
from smssim.errors import ExitCode, UsageError
from smssim.net import http
from smssim.net.hosts import Hosts
from smssim.outputs.of_course import CourseOutput
from smssim.process import ready
from smssim.process.logs import Log
from smssim.settings import MonitorSettings, WatchSettings, is_loopback
from smssim.web.book import Book

if TYPE_CHECKING:
    from smssim.net.access import Access
    from smssim.web.app import App
    from smssim.web.serving import PageServer
    from smssim.web.viewers import Viewers

FLAG: Final = "--web"
HERE: Final = "127.0.0.1"
LIBRARIES: Final = ("starlette", "uvicorn", "h11")
_EVERYWHERE: Final = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class _Open:
    """A page that is served."""

    app: App
    server: PageServer
    viewers: Viewers


class Page(CourseOutput):
    """The live page of a monitor or a watcher."""

    def __init__(self, settings: MonitorSettings | WatchSettings, log: Log, limits: Limits = LIMITS) -> None:
        super().__init__(settings, log, limits)
        self._port = settings.web or 0
        self._host = settings.web_listen or HERE
        self._is_monitor = isinstance(settings, MonitorSettings)
        self._history: str | None = getattr(settings, "history", None)
        self._book = Book(self.seen, settings.title, limits)
        self._page: _Open | None = None
        self._due = 0  # how many states and reports are still asked for after the end of a run: by each of its viewers

    def check(self) -> None:
        """See Output."""
        if not all(map(_is_installed, LIBRARIES)):
            raise UsageError(f"{FLAG}: starlette and uvicorn are not installed: run pip install 'smssim[web]'")

    def open(self) -> None:
        """See Output. Assumes a running event loop."""
        from smssim.net.access import OPEN
        from smssim.web.app import App
        from smssim.web.gate import Gate
        from smssim.web.serving import PageServer
        from smssim.web.viewers import Viewers

        access = self.access or OPEN
        tls = self._tls(access)
        listening = http.listen(FLAG, self._host, self._port)
        port = listening.getsockname()[1]
        gate = Gate(Hosts.of(self._host), access, port, secure=tls is not None)
        viewers = Viewers(self._book, self._limits)
        app = App(gate, self._book, viewers, self._history, self._log, self._limits)
        self._page = _Open(app, PageServer(app, tls, self._log, self._limits), viewers)
        self._page.server.start(listening)
        host = socket.gethostname() if self._host in _EVERYWHERE else self._host
        url = f"{'https' if tls else 'http'}://{http.shown(host)}:{port}/"
        says = f"Page at {url}" + (" (open it once as /?token=TOKEN)" if access.token else "")
        self._log.info("%s", says)
        ready.announce("web", url=url, says=says)

    def noted(self, snapshot: Snapshot, course: Course) -> None:
        """See Output."""
        super().noted(snapshot, course)
        if self._page is not None:
            self._page.viewers.noted(self.seen[snapshot.figures.run_id])

    def end(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        if self._page is None:
            return
        self._page.app.states = self._page.app.reports = 0
        self._due = self._page.viewers.of(snapshot.figures.run_id)
        for run_id in self._book.prune():
            self._page.viewers.dropped(run_id)

    def dropped(self, run_id: str) -> None:
        """See Output."""
        super().dropped(run_id)
        if self._page is not None:
            self._page.viewers.dropped(run_id)

    async def close(self) -> bool:
        """See Output. Viewers get the last frame before, and browsers the time to fetch the report."""
        page, self._page = self._page, None
        if page is None:
            return True
        page.viewers.close(self._reason())
        clock = asyncio.get_running_loop().time
        until = clock() + self._limits.page_farewell_s
        while clock() < until and (page.app.busy or min(page.app.states, page.app.reports) < self._due):
            await page.app.progress.wait(until)
        await page.app.shared.close()
        await page.server.end()
        return True

    def _reason(self) -> str:
        """Return why the page ends."""
        if not self._is_monitor:
            return "smssim watch has ended"
        summaries = [run.snapshot.summary for run in self.seen.values()]
        if None in summaries:
            return "it was stopped"
        short = [one.reason for one in summaries if one is not None and one.exit_code == ExitCode.INCOMPLETE]
        return short[-1] if short else "all runs have ended"

    def _tls(self, access: Access) -> ssl.SSLContext | None:
        """Return the TLS context of the page, if it has one.

        A watcher's certificate is that of a client, and its CA is for the monitor. So its page has TLS only if other
        machines can reach it, and asks browsers for no certificate.
        """
        if not self._is_monitor and is_loopback(f"[{self._host}]:0"):
            return None
        return access.of_page(asks_clients=self._is_monitor)


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):  # it is marked as missing
        return False
