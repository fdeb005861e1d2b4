"""The watchers of a monitor: which figures each of them gets, and when.

The more watchers there are, the longer each of them waits, so that all together cost no more than a few. Knows the
followed runs. Must not know how figures are sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from smssim.core.followed import FollowedRun
from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Figures
from smssim.errors import LaterError, PeerError

ALL: Final = ""  # `wanted` of a watcher of all runs


def wait_s(asked_s: float, watchers: int, runs: int, limits: Limits = LIMITS) -> float:
    """Return how long each of this many watchers waits between two rounds of responses, in seconds.

    A round is one response for each of the runs. The wait is `asked_s`, or longer if there are many watchers.
    """
    return max(asked_s, min(limits.wait_per_response_s * watchers * runs, limits.watcher_wait_max_s))


class Watcher:
    """A client that watches one run, or all of them.

    One turn consists of `turn`, `took` for each response, and `rest`. The watcher gets the last figures of a run once,
    as soon as they are available.
    """

    def __init__(self, audience: Audience, wanted: str, asked_s: float, now: float) -> None:
        self.finished = False
        self._audience = audience
        self._wanted = wanted
        self._asked_s = asked_s
        self._due = now
        self._is_due = False  # whether this turn is for all runs, not only for last figures
        self._is_last = False  # whether this turn is the last one
        self._before: dict[str, Figures] = {}  # the latest that it got, by run
        # Runs whose last figures it got, and runs that ended before it joined, unless it asked for that run.
        self._over = {
            run_id
            for run_id, run in audience.followed.items()
            if audience.lingers and run.final is not None and run_id != wanted
        }

    def turn(self, now: float) -> list[FollowedRun]:
        """Return the runs whose figures this watcher gets now."""
        followed = self._audience.followed
        self._is_last = self._audience.closing  # if closing begins during this turn, another turn follows
        self._is_due = self._is_last or now >= self._due
        self._over &= followed.keys()
        self._before = {run_id: figures for run_id, figures in self._before.items() if run_id in followed}
        return [
            run
            for run_id, run in followed.items()
            if self._wanted in (ALL, run_id) and run_id not in self._over and (self._is_due or run.final is not None)
        ]

    def took(self, figures: Figures) -> Figures | None:
        """Record that this watcher gets these figures, and return those of the same run that it got before."""
        before = self._before.get(figures.run_id)
        self._before[figures.run_id] = figures
        if figures.final:
            self._over.add(figures.run_id)
        return before

    def rest(self, now: float) -> float:
        """End the turn, and return when the next one is due, unless a run ends or is dropped before that."""
        wanted = self._wanted
        is_gone = wanted != ALL and (wanted in self._over or wanted not in self._audience.followed)
        self.finished = self._is_last or is_gone
        if self._is_due:
            self._due = now + self._audience.wait_s(self._asked_s, len(self._before))
        return now if self.finished else self._due


class Audience:
    """All watchers of a monitor."""

    def __init__(
        self,
        followed: Mapping[str, FollowedRun],
        interval_s: float,
        limits: Limits = LIMITS,
        *,
        lingers: bool = False,
    ) -> None:
        """`interval_s`: how often a watcher gets figures if it asks for no interval.

        `lingers`: whether the monitor follows any number of runs. If not, a watcher that joins after the end of the run
        gets the last figures, too: it may have watched another monitor, which has died.
        """
        self.followed = followed
        self.watchers: set[Watcher] = set()
        self.lingers = lingers
        self.closes_at = math.inf  # when the last watchers must leave
        self._interval_s = interval_s
        self._limits = limits

    @property
    def closing(self) -> bool:
        """Whether the watchers are getting their last figures."""
        return self.closes_at < math.inf

    def join(self, wanted: str, asked_s: float, now: float) -> Watcher:
        """Return a new watcher of this run, or of all runs if `wanted` is `ALL`.

        `asked_s`: the interval that it asks for, 0 if none. Raises PeerError if the run is unknown, and LaterError if
        there are too many watchers.
        """
        if wanted != ALL and wanted not in self.followed:
            raise PeerError(f"unknown run {wanted!r}")
        if len(self.watchers) >= self._limits.watchers_max:
            raise LaterError(f"{self._limits.watchers_max:,} watchers are connected already")
        watcher = Watcher(self, wanted, asked_s or self._interval_s, now)
        self.watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Remove a watcher."""
        self.watchers.discard(watcher)

    def wait_s(self, asked_s: float, runs: int) -> float:
        """Return how long a watcher of this many runs waits before its next turn, in seconds."""
        return wait_s(asked_s, len(self.watchers), runs, self._limits)

    def close(self, now: float) -> None:
        """Let each watcher have one more turn, within `Limits.last_figures_s`."""
        self.closes_at = now + self._limits.last_figures_s

    def is_reading(self, now: float) -> bool:
        """Return whether watchers are still reading their last figures, within their time."""
        return bool(self.watchers) and now < self.closes_at
