"""The watchers of a monitor: which figures each of them gets, and when.

All of them together cost no more than a few: the more they are, the longer each waits. Knows the runs that are
followed. Must not know how figures travel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Figures
from smssim.core.runs import FollowedRun
from smssim.errors import LaterError, PeerError

ALL: Final = ""  # wanted by a watcher of all runs


def wait_s(asked_s: float, watchers: int, runs: int, limits: Limits = LIMITS) -> float:
    """Return how long one of this many watchers waits between two rounds of responses, one for each of these runs.

    As long as it asked for, or longer if they are many.
    """
    return max(asked_s, min(limits.wait_per_response_s * watchers * runs, limits.watcher_wait_max_s))


class Watcher:
    """A client that watches one run, or all of them.

    It takes turns: `turn`, `took` for each response, `rest`. It gets the last figures of a run as soon as they are
    there, and once.
    """

    def __init__(self, audience: Audience, wanted: str, asked_s: float, now: float) -> None:
        self.finished = False
        self._audience = audience
        self._wanted = wanted
        self._asked_s = asked_s
        self._due = now
        self._is_due = False  # in the present turn, not only for last figures
        self._is_last = False
        self._before: dict[str, Figures] = {}  # that it got, by run
        # Runs whose last figures it has got, or that had ended when it came.
        self._over = {run_id for run_id, run in audience.followed.items() if run.final is not None and run_id != wanted}

    def turn(self, now: float) -> list[FollowedRun]:
        """Return the runs of which this watcher gets figures now."""
        followed = self._audience.followed
        self._is_last = self._audience.closing  # as of now: last figures that come meanwhile are another turn
        self._is_due = self._is_last or now >= self._due
        self._over &= followed.keys()
        self._before = {run_id: figures for run_id, figures in self._before.items() if run_id in followed}
        return [
            run
            for run_id, run in followed.items()
            if self._wanted in (ALL, run_id) and run_id not in self._over and (self._is_due or run.final is not None)
        ]

    def took(self, figures: Figures) -> Figures | None:
        """Note that this watcher gets these figures, and return those of the same run that it got before."""
        before = self._before.get(figures.run_id)
        self._before[figures.run_id] = figures
        if figures.final:
            self._over.add(figures.run_id)
        return before

    def rest(self, now: float) -> float:
        """End the turn, and return when the next one is due: earlier if a run ends or is dropped."""
        wanted = self._wanted
        is_gone = wanted != ALL and (wanted in self._over or wanted not in self._audience.followed)
        self.finished = self._is_last or is_gone
        if self._is_due:
            self._due = now + self._audience.wait_s(self._asked_s, len(self._before))
        return now if self.finished else self._due


class Audience:
    """All watchers."""

    def __init__(self, followed: Mapping[str, FollowedRun], interval_s: float, limits: Limits = LIMITS) -> None:
        """`interval_s`: how often a watcher gets figures if it does not say."""
        self.followed = followed
        self.watchers: set[Watcher] = set()
        self.closes_at = math.inf  # when the last watchers have to leave
        self._interval_s = interval_s
        self._limits = limits

    @property
    def closing(self) -> bool:
        """Whether watchers get their last figures."""
        return self.closes_at < math.inf

    def join(self, wanted: str, asked_s: float, now: float) -> Watcher:
        """Return a new watcher of this run, of `ALL` if empty; raises PeerError. `asked_s`: 0 if it does not say."""
        if wanted != ALL and wanted not in self.followed:
            raise PeerError(f"unknown run {wanted!r}")
        if len(self.watchers) >= self._limits.watchers_max:
            raise LaterError(f"{self._limits.watchers_max:,} watch already")
        watcher = Watcher(self, wanted, asked_s or self._interval_s, now)
        self.watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        self.watchers.discard(watcher)

    def wait_s(self, asked_s: float, runs: int) -> float:
        """Return how long a watcher of this many runs waits before its next turn."""
        return wait_s(asked_s, len(self.watchers), runs, self._limits)

    def close(self, now: float) -> None:
        """Give each watcher one more turn, and a bounded time for it."""
        self.closes_at = now + self._limits.last_figures_s

    def is_reading(self, now: float) -> bool:
        """Return whether watchers still take their last figures, within their time."""
        return bool(self.watchers) and now < self.closes_at
