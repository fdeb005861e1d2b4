"""The viewers of a page: which frame each of them gets next, and when frames are made.

A frame is made at most once a second, for all viewers of a run together, and only if there are any. Nothing is queued:
a viewer that is slow gets the newest frame as soon as it has taken the last one. Knows frames as bytes. Must not know
HTTP.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from smssim.core.limits import LIMITS, Limits
from smssim.core.snapshot import Snapshot
from smssim.outputs.of_course import Seen
from smssim.web.book import Book, is_over
from smssim.web.frames import message


class FullError(Exception):
    """There are as many viewers as there may be."""


@dataclass(eq=False, slots=True)
class Viewer:
    """One open stream."""

    run_id: str | None  # None: of the first run that there will be
    news: asyncio.Event = field(default_factory=asyncio.Event)  # there may be something for it
    taken: int = 0  # the number of the last frame that it took
    closes_at: float = math.inf
    is_over: bool = False  # it has taken everything


@dataclass(slots=True)
class _Feed:
    """The frames of one run."""

    number: int = 0  # of frames so far
    newest: bytes = b""
    of: Snapshot | None = None  # what the newest shows
    is_final: bool = False  # whether the newest is the last
    due: float = -math.inf  # when the next one may be made
    timer: asyncio.TimerHandle | None = None  # for the next one


class Viewers:
    """All open streams of a page."""

    def __init__(self, book: Book, limits: Limits = LIMITS) -> None:
        self.made = 0  # frames, of all runs
        self._book = book
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._open: set[Viewer] = set()
        self._feeds: dict[str, _Feed] = {}  # by run id
        self._ended: bytes | None = None  # the last message, once the page ends

    def __len__(self) -> int:
        return len(self._open)

    def join(self, asked: str) -> Viewer:
        """Return a new viewer of the run with this id, which is followed, or of the run to show; raises FullError."""
        if len(self._open) >= self._limits.page_viewers_max:
            raise FullError
        seen = self._book.find(asked)
        viewer = Viewer(None if seen is None else seen.snapshot.figures.run_id)
        self._open.add(viewer)
        if seen is not None:
            self.noted(seen)
            feed = self._feeds[seen.snapshot.figures.run_id]
            if feed.of is not seen.snapshot:  # the newest frame is old, and may be older than the state it knows
                viewer.taken = feed.number
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self._open.discard(viewer)

    def of(self, run_id: str) -> int:
        """Return how many viewers a run has."""
        return sum(viewer.run_id == run_id for viewer in self._open)

    def noted(self, seen: Seen) -> None:
        """Make a frame of a run if it has viewers: at once if it is the last one, otherwise when it is due."""
        run_id = seen.snapshot.figures.run_id
        for viewer in self._open:
            viewer.run_id = viewer.run_id or run_id
        if not self.of(run_id):
            return
        feed = self._feeds.setdefault(run_id, _Feed())
        if is_over(seen) and feed.timer is not None:
            feed.timer.cancel()
            feed.timer = None
        if feed.timer is None and feed.of is not seen.snapshot:
            due = -math.inf if is_over(seen) else feed.due
            feed.timer = self._loop.call_at(
                due, self._make, run_id
            )  # even if it is due: a fault in it can't end a node

    def dropped(self, run_id: str) -> None:
        """End the streams of a run that is not shown any more."""
        feed = self._feeds.pop(run_id, None)
        if feed is not None and feed.timer is not None:
            feed.timer.cancel()
        for viewer in self._open:
            if viewer.run_id == run_id:
                viewer.closes_at = -math.inf
                viewer.news.set()

    def close(self, reason: str) -> None:
        """Tell all viewers, after the frames that are due, that there are no more."""
        self._ended = message("over", {"reason": reason})
        for run_id, feed in self._feeds.items():
            if feed.timer is not None:
                self._make(run_id)
        for viewer in self._open:
            viewer.news.set()

    def next(self, viewer: Viewer) -> bytes | None:
        """Return what a viewer gets now; None if there is nothing new."""
        viewer.news.clear()
        feed = self._feeds.get(viewer.run_id or "")
        if feed is not None and feed.number > viewer.taken:
            viewer.taken = feed.number
            if feed.is_final:
                viewer.closes_at = min(viewer.closes_at, self._loop.time() + self._limits.page_over_s)
            return feed.newest
        if self._ended is not None and not viewer.is_over:
            viewer.is_over = True
            return self._ended
        viewer.is_over = viewer.is_over or self._loop.time() >= viewer.closes_at
        return None

    async def wait(self, viewer: Viewer) -> bool:
        """Wait for news, and return whether there are any. Without news, wait only until the stream needs a sign."""
        until = min(self._loop.time() + self._limits.page_alive_s, viewer.closes_at)
        try:
            async with asyncio.timeout_at(until):
                await viewer.news.wait()
        except TimeoutError:
            return until == viewer.closes_at
        return True

    def _make(self, run_id: str) -> None:
        feed, seen = self._feeds[run_id], self._book.find(run_id)
        if feed.timer is not None:
            feed.timer.cancel()
            feed.timer = None
        if seen is None or not self.of(run_id):
            return
        self.made += 1
        feed.newest, feed.of, feed.is_final = self._book.frame(seen), seen.snapshot, is_over(seen)
        feed.number += 1
        feed.due = self._loop.time() + self._limits.page_shared_s
        for viewer in self._open:
            if viewer.run_id == run_id:
                viewer.news.set()
