"""The runs that a page shows: those in progress, and the last few that ended.

Knows what was seen of runs. Must not know who asks for it.
"""

from __future__ import annotations

import time
from typing import Any, Final

from smssim.core.course import Course
from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.outputs.document import About, title_of, verdict
from smssim.outputs.of_course import Seen
from smssim.web.frames import Static, frame, message

NONE_YET: Final = {"code": "starting", "text": "Waiting for a run"}


class Book:
    """Runs by id, in the order in which they were first seen."""

    def __init__(self, seen: dict[str, Seen], title: str, limits: Limits = LIMITS) -> None:
        """`seen` changes while runs go on; `title` is for a page without a run."""
        self._seen = seen
        self._title = title
        self._limits = limits
        self._static: dict[str, Static] = {}  # by run id

    def find(self, asked: str) -> Seen | None:
        """Return the run with this id, or if it is empty, the run to show: the latest in progress, else the latest."""
        if asked:
            return self._seen.get(asked)
        latest = list(reversed(self._seen.values()))
        return next((run for run in latest if not is_over(run)), latest[0] if latest else None)

    def version(self, seen: Seen) -> int:
        """Return the version of the static part of a run."""
        run_id = seen.snapshot.figures.run_id
        self._static[run_id] = Static.of(seen.snapshot, self._static.get(run_id))
        return self._static[run_id].version

    def frame(self, seen: Seen) -> bytes:
        """Return a new frame of a run, as a server-sent event."""
        return message("frame", frame(seen, self.version(seen)))

    def state(self, seen: Seen | None) -> dict[str, Any]:
        """Return the document of a run, with what the live page needs besides; of no run if there is none."""
        now = {"server_time_s": round(time.time(), 3)}
        if seen is None:
            return {**_nothing(self._title), "verdict": NONE_YET, "static_version": 0, **now}
        return {**seen.document(), "static_version": self.version(seen), **now}

    def runs(self) -> list[dict[str, Any]]:
        """Return what a list of the runs shows of each."""
        return [
            {
                "run_id": run.snapshot.figures.run_id,
                "title": title_of(run.about, run.snapshot),
                "began": run.about.began,
                "state": verdict(run.snapshot, run.course)["code"] if is_over(run) else "running",
                "total": run.snapshot.figures.total,
            }
            for run in self._seen.values()
        ]

    def prune(self) -> list[str]:
        """Forget the oldest runs that have ended, and return their ids."""
        ended = [run_id for run_id, run in self._seen.items() if is_over(run)][: -self._limits.ended_kept_max]
        for run_id in ended:
            del self._seen[run_id]
        self._static = {run_id: static for run_id, static in self._static.items() if run_id in self._seen}
        return ended


def is_over(seen: Seen) -> bool:
    """Return whether a run has ended."""
    return seen.snapshot.summary is not None


def _nothing(title: str) -> dict[str, Any]:
    """Return a document of the same shape as any other, of no run."""
    counts = dict.fromkeys(Figures.__slots__, 0) | {"run_id": "", "complete": False, "final": False}
    times = {name: None for name in Figures.__slots__ if name.startswith(("avg_", "latency_"))}
    figures = Figures(**{**counts, **times})  # type: ignore[arg-type]
    return Seen(Snapshot(figures), Course(), About(title=title or "smssim")).document()
